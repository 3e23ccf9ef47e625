#!/usr/bin/env bash
# A server-side client that makes up a new anonymousId for every call that has none, also where the call has a userId.
#
# Surprise: github.com/rudderlabs/analytics-go v4 sends, for two events of one known user, two different random anonymous ids. (Segment's own
# Go client, which it descends from, sends none.)
# Why it matters: an identity graph that takes each new id as evidence gives one busy user thousands of anonymous ids an hour. Limits fill, so
# that a real visitor's id no longer fits, and guards against "one id that brings too many others" shut out the user id itself.
set -euo pipefail

folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
export GOFLAGS=-mod=mod
cat > go.mod <<'MOD'
module finding

go 1.21

require (
	github.com/rudderlabs/analytics-go/v4 v4.2.1
	github.com/segmentio/analytics-go/v3 v3.3.0
)
MOD
cat > main.go <<'GO'
package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	rudder "github.com/rudderlabs/analytics-go/v4"
	segment "github.com/segmentio/analytics-go/v3"
)

func main() {
	seen := map[string][]string{}
	name := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		var sent struct {
			Batch []struct{ UserId, AnonymousId string }
		}
		if err := json.NewDecoder(body).Decode(&sent); err != nil {
			panic(err)
		}
		for _, event := range sent.Batch {
			seen[name] = append(seen[name], event.AnonymousId)
		}
	}))

	name = "segmentio/analytics-go v3.3.0"
	one, _ := segment.NewWithConfig("key", segment.Config{Endpoint: server.URL})
	for i := 0; i < 3; i++ {
		one.Enqueue(segment.Track{UserId: "ana", Event: "Viewed"})
	}
	one.Close()
	segments := name

	name = "rudderlabs/analytics-go v4.2.1"
	other, _ := rudder.NewWithConfig("key", rudder.Config{DataPlaneUrl: server.URL})
	for i := 0; i < 3; i++ {
		other.Enqueue(rudder.Track{UserId: "ana", Event: "Viewed"})
	}
	other.Close()

	for _, client := range []string{segments, name} {
		fmt.Printf("%s: anonymousId of three events of the user ana: %q\n", client, seen[client])
	}
	distinct := map[string]bool{}
	for _, id := range seen[name] {
		distinct[id] = id != ""
	}
	if len(seen[name]) != 3 || len(distinct) != 3 || distinct[""] {
		fmt.Println("it behaves otherwise now")
		os.Exit(1)
	}
}
GO
go version
go mod tidy > log 2>&1 || { cat log; exit 1; }
go run .
