//! The description and the door say the same.

use crate::house::*;
use serde_json::Value;
use std::collections::BTreeSet;

async fn document() -> (Open, Value) {
    let house = open();
    let answer = send(&house.app, request("GET", "/openapi.json", &[], "")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    (house, answer.json())
}

#[tokio::test]
async fn every_described_route_answers_and_every_other_method_does_not() {
    let (house, document) = document().await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let concrete = path.replace("{id}", "x").replace("{ref}", "x").replace("{leg}", "x").replace("{order_ref}", "x");
        for method in ["get", "post", "put", "patch", "delete"] {
            // Without a key each route says 401 (or looks at the body first); none is unknown.
            let answer = send(&house.app, request(&method.to_uppercase(), &concrete, &[], "")).await;
            let described = item.get(method).is_some();
            assert_eq!(answer.status == 405, !described, "{method} {path}: {}", answer.text);
            assert_ne!(answer.status, 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_route_of_the_source_is_described() {
    let (_house, document) = document().await;
    let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let sources = [
        include_str!("../../src/rest/calls.rs"),
        include_str!("../../src/rest/clients.rs"),
        include_str!("../../src/rest/companions.rs"),
        include_str!("../../src/rest/plans.rs"),
        include_str!("../../src/rest/refunds.rs"),
        include_str!("../../src/rest/recordings.rs"),
        include_str!("../../src/rest/records.rs"),
        include_str!("../../src/rest/session.rs"),
        include_str!("../../src/rest/webhooks.rs"),
        include_str!("../../src/rest/settlement.rs"),
        include_str!("../../src/join.rs"),
    ];
    let routed: BTreeSet<&str> =
        sources.iter().flat_map(|source| source.split(".route(\"").skip(1)).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(described, routed);
}

#[tokio::test]
async fn bodies_have_the_described_fields_and_no_others() {
    let (house, document) = document().await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(name) = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else { continue };
        let schema = document.pointer(&name[1..]).unwrap_or_else(|| panic!("{name}"));
        let described: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let answer = post(&house.app, &path.replace("{id}", "x").replace("{ref}", "x"), r#"{"no_such_field":1}"#).await;
        assert_eq!(answer.json()["field"], "no_such_field", "{path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let (_, accepted) = detail.split_once("accepted are: ").unwrap();
        let accepted: BTreeSet<String> = accepted.split(", ").filter(|field| *field != "none").map(str::to_owned).collect();
        assert_eq!(described, accepted, "{path}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_code_is_named() {
    let (_house, document) = document().await;
    fn look(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
                }
                fields.values().for_each(|value| look(value, document));
            }
            Value::Array(values) => values.iter().for_each(|value| look(value, document)),
            _ => (),
        }
    }
    look(&document, &document);
    let named = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    assert!(named.iter().all(|code| serde_json::from_value::<signaling::code::Code>(code.clone()).is_ok()));
    let variants = include_str!("../../src/code.rs").lines().filter(|line| line.starts_with("    ") && line.ends_with(',')).count();
    assert_eq!(named.len(), variants);
}
