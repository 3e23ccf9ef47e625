//! Publish with the crate `segment`: URL KEY USER
use segment::message::{Group, Identify, Message, Page, Screen, Track, User};
use segment::{Client, HttpClient};
use serde_json::json;

fn main() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(publish());
}

async fn publish() {
    let arguments: Vec<String> = std::env::args().collect();
    let client = HttpClient::new(reqwest::Client::new(), arguments[1].clone());
    let user = || User::UserId { user_id: arguments[3].clone() };
    let order = |total: f64| Track {
        user: user(),
        event: "Order Completed".to_owned(),
        properties: json!({ "total": total }),
        ..Default::default()
    };
    let messages: Vec<Message> = vec![
        Identify { user: user(), traits: json!({ "plan": "gold", "city": "Zürich" }), ..Default::default() }.into(),
        order(40.9).into(),
        order(5.0).into(),
        Page { user: user(), name: "Home".to_owned(), ..Default::default() }.into(),
        Screen { user: user(), name: "Start".to_owned(), ..Default::default() }.into(),
        Group { user: user(), group_id: "g1".to_owned(), traits: json!({ "name": "Acme" }), ..Default::default() }.into(),
    ];
    for message in messages {
        client.send(arguments[2].clone(), message).await.unwrap();
    }
}
