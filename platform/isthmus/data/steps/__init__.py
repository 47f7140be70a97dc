"""Series as windows of steps: how they are cut, written back as steps, scored and put in ranges."""
