// Publish by the CloudEvents SDK for Go, in its default mode: URL KEY USER
package main

import (
	"context"
	"log"
	"os"

	cloudevents "PACKAGE"
	client "PACKAGE/client"
	protocol "PACKAGE/protocol/http"
)

func main() {
	url, key, user := os.Args[1], os.Args[2], os.Args[3]
	http, err := protocol.New(protocol.WithTarget(url+"/v1/events"), protocol.WithHeader("Authorization", "Bearer "+key))
	if err != nil {
		log.Fatal(err)
	}
	publisher, err := client.New(http, client.WithTimeNow(), client.WithUUIDs())
	if err != nil {
		log.Fatal(err)
	}
	send := func(kind string, data map[string]any) {
		event := cloudevents.NewEvent()
		event.SetType(kind)
		event.SetSource("https://shop.example/")
		event.SetSubject(user)
		if err := event.SetData("application/json", data); err != nil {
			log.Fatal(err)
		}
		if result := publisher.Send(context.Background(), event); !cloudevents.IsACK(result) {
			log.Fatal(result)
		}
	}
	send("identify", map[string]any{"traits": map[string]any{"plan": "gold", "city": "Zürich"}})
	send("Order Completed", map[string]any{"total": 40.9})
	send("Order Completed", map[string]any{"total": 5})
}
