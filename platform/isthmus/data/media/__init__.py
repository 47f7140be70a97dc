"""Files of images and sounds: what one file holds, rows of many files, and files written back.

`pixels` and `samples` read and write one file; `image_files` and `sound_files` are the sources of
rows. What files say of themselves is looked at first, so that those that do not fit are found
before any is decoded; then they are decoded a block at a time.
"""
