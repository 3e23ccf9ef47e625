//! Publish with the crate `rudderanalytics`: URL KEY USER
use rudderanalytics::client::RudderAnalytics;
use rudderanalytics::message::{Group, Identify, Message, Page, Screen, Track};
use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let client = RudderAnalytics::load(arguments[2].clone(), arguments[1].clone());
    let user = || Some(arguments[3].clone());
    let order = |total: f64| {
        Message::Track(Track {
            user_id: user(),
            event: "Order Completed".to_owned(),
            properties: Some(json!({ "total": total })),
            ..Default::default()
        })
    };
    let messages = [
        Message::Identify(Identify { user_id: user(), traits: Some(json!({ "plan": "gold", "city": "Zürich" })), ..Default::default() }),
        order(40.9),
        order(5.0),
        Message::Page(Page { user_id: user(), name: "Home".to_owned(), ..Default::default() }),
        Message::Screen(Screen { user_id: user(), name: "Start".to_owned(), ..Default::default() }),
        Message::Group(Group { user_id: user(), group_id: "g1".to_owned(), traits: Some(json!({ "name": "Acme" })), ..Default::default() }),
    ];
    for message in &messages {
        client.send(message).unwrap();
    }
}
