#!/bin/sh
# Publish with curl: URL KEY USER [option]
url=$1 key=$2 user=$3
shift 3
send() {
  curl --silent --show-error --fail-with-body "$@" --user "$key:" --data "$body" "$url/v1/$kind"
}
kind=identify body="{\"userId\": \"$user\", \"traits\": {\"plan\": \"gold\", \"city\": \"Zürich\"}}"; send "$@" || exit 1
kind=track body="{\"userId\": \"$user\", \"event\": \"Order Completed\", \"properties\": {\"total\": 40.9}}"; send "$@" || exit 1
kind=track body="{\"userId\": \"$user\", \"event\": \"Order Completed\", \"properties\": {\"total\": 5}}"; send "$@" || exit 1
