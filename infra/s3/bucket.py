"""Makes the bucket named by S3_BUCKET, if it is not there."""

import os

import boto3

bucket = os.environ["S3_BUCKET"]
s3 = boto3.client("s3")
if bucket not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
    s3.create_bucket(Bucket=bucket)
