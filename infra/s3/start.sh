#!/bin/sh
# Writes the one identity that may use the store, then starts SeaweedFS as its image would.
set -eu

for key in "$S3_ACCESS_KEY" "$S3_SECRET_KEY"; do
    case "$key" in
        '' | *[!A-Za-z0-9_+/=-]*)
            echo "S3_ACCESS_KEY and S3_SECRET_KEY may hold only letters, digits and _ + / = -" >&2
            exit 1
            ;;
    esac
done

umask 077
identities=/tmp/identities.json
cat > "$identities" <<JSON
{
  "identities": [
    {
      "name": "isthmus",
      "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]
    }
  ]
}
JSON
# The image's entrypoint changes to this user before it starts the server.
if id seaweed > /dev/null 2>&1; then
    chown seaweed "$identities"
fi

exec /entrypoint.sh "$@" -s3.config="$identities"
