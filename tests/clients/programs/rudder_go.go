// Publish with RudderStack's Go client: URL KEY USER
package main

import (
	"log"
	"os"

	analytics "PACKAGE"
)

func main() {
	url, key, user := os.Args[1], os.Args[2], os.Args[3]
	client, err := analytics.NewWithConfig(key, analytics.Config{DataPlaneUrl: url, BatchSize: 20})
	if err != nil {
		log.Fatal(err)
	}
	messages := []analytics.Message{
		analytics.Identify{UserId: user, Traits: analytics.NewTraits().Set("plan", "gold").Set("city", "Zürich")},
		analytics.Track{UserId: user, Event: "Order Completed", Properties: analytics.NewProperties().Set("total", 40.9)},
		analytics.Track{UserId: user, Event: "Order Completed", Properties: analytics.NewProperties().Set("total", 5)},
		analytics.Page{UserId: user, Name: "Home"},
		analytics.Screen{UserId: user, Name: "Start"},
		analytics.Group{UserId: user, GroupId: "g1", Traits: analytics.NewTraits().Set("name", "Acme")},
	}
	for _, message := range messages {
		if err := client.Enqueue(message); err != nil {
			log.Fatal(err)
		}
	}
	if err := client.Close(); err != nil {
		log.Fatal(err)
	}
}
