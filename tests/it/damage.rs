//! A file that was changed behind the server's back: what is damaged is told, and all the rest goes on.

use crate::crash::talk;
use crate::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_stops_nothing_but_its_own_call() {
    let mut server = Server::start("");
    let vendor = server.vendor("House");
    let (call, other) = (vendor.call(600, 4000), vendor.call(600, 4000));
    // A crash makes a pause, so that there is the beginning of one to damage.
    let peers = talk(&server, &call).await;
    vendor.until(&call, "live");
    server.kill();
    drop(peers);
    server.launch();
    let vendor = vendor.at(&server);
    let peers = talk(&server, &call).await;
    vendor.until(&call, "live");
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    vendor.until(&call, "settled");
    drop(peers);
    // A server that has it on disk only.
    server.kill();
    server.launch();
    let vendor = vendor.at(&server);
    crate::server::wait_for("the audit", || server.log().contains("all that is on disk adds up").then_some(()));
    {
        let database = rusqlite::Connection::open(server.database()).unwrap();
        database.execute_batch("DROP TRIGGER journal_update").unwrap();
        // One digit, and the pause begins a day after its end.
        let sql = "UPDATE journal SET fact = json_set(fact, '$.since_ms', json_extract(fact, '$.since_ms') + 86400000)
                   WHERE call = ?1 AND seq = (SELECT min(seq) FROM journal WHERE call = ?1 AND fact LIKE '%paused%')";
        assert_eq!(database.execute(sql, [&call.id]), Ok(1));
    }
    // The list goes on without it, and says so.
    for path in ["/v1/calls", "/v1/calls?limit=1"] {
        let (mut items, mut unreadable, mut after) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = vendor.get(&format!("{path}{after}")).with(200);
            let ids = |list: &Value| list.as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
            items.extend(ids(&page["items"]).iter().map(|item| item["id"].clone()));
            unreadable.extend(ids(&page["unreadable"]));
            match page["next_cursor"].as_str() {
                Some(next) => after = format!("{}after={next}", if path.contains('?') { '&' } else { '?' }),
                None => break,
            }
        }
        assert_eq!((items, unreadable), (vec![json!(other.id)], vec![json!(call.id)]), "{path}");
    }
    for path in [format!("/v1/calls/{}", call.id), format!("/v1/calls/{}/receipt", call.id)] {
        let detail = vendor.get(&path).problem(500, "internal");
        assert!(detail.contains(&call.id), "{path}: {detail}");
    }
    assert_eq!(vendor.shown(&other)["state"], "connecting");
    {
        // A plan that cannot be read any more: nothing that a further try could mend.
        let database = rusqlite::Connection::open(server.database()).unwrap();
        assert_eq!(database.execute("UPDATE plan SET sold = '{}' WHERE id = (SELECT min(id) FROM plan)", []), Ok(1));
        let plan: String = database.query_one("SELECT min(id) FROM plan", [], |row| row.get(0)).unwrap();
        let answer = vendor.get(&format!("/v1/plans/{plan}"));
        assert_eq!(answer.headers.get("retry-after"), None);
        answer.problem(500, "internal");
    }
    let (mut client, _companion) = talk(&server, &other).await;
    vendor.until(&other, "live");
    client.hears(b"companion").await;
    let audit = server.tool(&["audit"]);
    let said = String::from_utf8(audit.stdout).unwrap();
    assert!(!audit.status.success() && said.contains(&format!("{}: journal_hash: ", call.id)), "{said}");
}
