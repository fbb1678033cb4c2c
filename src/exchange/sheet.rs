//! Records as rows of a table: CSV (RFC 4180) for a vendor's bookkeeping.
//!
//! Amounts stand in minor units and, for people, in major ones. Columns are only ever added at the end. What somebody outside chose
//! is never a formula in the program that opens the table.

use crate::clock::Moment;
use crate::money::{Currency, Money};
use serde_json::Value;

/// What a column holds.
enum Cell {
    /// A text or number of the record, where this pointer leads (RFC 6901).
    At(&'static str),
    /// A text of this server's own making that somebody copies to check it: as it is.
    Code(&'static str),
    /// An amount in major units.
    Decimal(&'static str),
    /// What the table says and not the record.
    SettledAt,
}

const COLUMNS: [(&str, Cell); 38] = [
    ("call_id", Cell::At("/call_id")),
    ("settled_at", Cell::SettledAt),
    ("client_ref", Cell::At("/client_ref")),
    ("companion_id", Cell::At("/companion_id")),
    ("companion_name", Cell::At("/companion_name")),
    ("plan_id", Cell::At("/plan_id")),
    ("plan_name", Cell::At("/plan_name")),
    ("media", Cell::At("/media")),
    ("grade_paid", Cell::At("/grade_paid")),
    ("grade_delivered", Cell::At("/grade_delivered")),
    ("created_at", Cell::At("/created_at")),
    ("client_joined_at", Cell::At("/client_joined_at")),
    ("companion_joined_at", Cell::At("/companion_joined_at")),
    ("started_at", Cell::At("/started_at")),
    ("ended_at", Cell::At("/ended_at")),
    ("end_reason", Cell::At("/end_reason")),
    ("at_fault", Cell::At("/at_fault")),
    ("settlement", Cell::At("/settlement")),
    ("delivered_ms", Cell::At("/delivered_ms")),
    ("billed_s", Cell::At("/billed_s")),
    ("gift_s", Cell::At("/gift_s")),
    ("paused_client_ms", Cell::At("/paused_ms/client")),
    ("paused_companion_ms", Cell::At("/paused_ms/companion")),
    ("paused_platform_ms", Cell::At("/paused_ms/platform")),
    ("currency", Cell::At("/charge/currency")),
    ("held_minor", Cell::At("/held/amount")),
    ("held", Cell::Decimal("/held")),
    ("charge_minor", Cell::At("/charge/amount")),
    ("charge", Cell::Decimal("/charge")),
    ("refund_minor", Cell::At("/refund/amount")),
    ("refund", Cell::Decimal("/refund")),
    ("companion_share_minor", Cell::At("/shares/0/amount/amount")),
    ("companion_share", Cell::Decimal("/shares/0/amount")),
    ("vendor_share_minor", Cell::At("/shares/1/amount/amount")),
    ("vendor_share", Cell::Decimal("/shares/1/amount")),
    ("hash", Cell::Code("/hash")),
    ("key_id", Cell::Code("/key_id")),
    ("signature", Cell::Code("/signature")),
];

/// The row of headings, with its line break.
pub fn head() -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    format!("{}\r\n", names.join(","))
}

/// The row of a record as it is given out, with its line break; what the record does not have is empty.
pub fn row(record: &Value, settled_at: Moment) -> String {
    let cells = COLUMNS.iter().map(|(_, cell)| match cell {
        Cell::SettledAt => settled_at.to_string(),
        Cell::At(pointer) => match record.pointer(pointer) {
            Some(Value::String(text)) => shown(text),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        },
        Cell::Code(pointer) => match record.pointer(pointer).and_then(Value::as_str) {
            Some(text) if is_code(text) => text.to_owned(),
            other => other.map(shown).unwrap_or_default(),
        },
        Cell::Decimal(pointer) => record.pointer(pointer).and_then(decimal).unwrap_or_default(),
    });
    format!("{}\r\n", cells.collect::<Vec<_>>().join(","))
}

fn decimal(money: &Value) -> Option<String> {
    let currency: Currency = money["currency"].as_str()?.parse().ok()?;
    Some(Money::new(money["amount"].as_i64()?, currency).decimal())
}

/// Letters, digits, `-` and `_`: what hashes, keys and signatures are spelled with. It calls no function; a program may still show one that begins with
/// `-` as an error, but the file has it as it is.
fn is_code(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A text as a cell. One that begins like a formula gets an apostrophe in front, which those programs take as "this is text".
fn shown(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n', ';', '\'']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_has_a_cell_under_each_heading() {
        let yen = |amount: i64| json!({"amount": amount, "currency": "JPY"});
        let record = json!({
            "call_id": "call_1", "client_ref": "tb-1", "delivered_ms": 60000, "charge": {"amount": 1205, "currency": "CNY"}, "refund": yen(5),
            "hash": "-1", "key_id": "k_1", "signature": "-abc_-", "shares": [{"amount": yen(7)}, {"amount": yen(3)}], "paused_ms": {"client": 0, "companion": 1500, "platform": 0}, "grade_paid": null,
        });
        let row = row(&record, Moment::from_unix_ms(0));
        let cells: Vec<&str> = row.trim_end().split(',').collect();
        let head = head();
        let names: Vec<&str> = head.trim_end().split(',').collect();
        assert_eq!(cells.len(), names.len());
        let cell = |name: &str| cells[names.iter().position(|known| *known == name).unwrap()];
        for (name, value) in [
            ("call_id", "call_1"),
            ("settled_at", "1970-01-01T00:00:00.000Z"),
            ("client_ref", "tb-1"),
            ("grade_paid", ""),
            ("charge_minor", "1205"),
            ("charge", "12.05"),
            ("refund", "5"),
            ("vendor_share_minor", "3"),
            ("paused_companion_ms", "1500"),
            // No apostrophe: a copied signature must verify.
            ("hash", "-1"),
            ("key_id", "k_1"),
            ("signature", "-abc_-"),
        ] {
            assert_eq!(cell(name), value, "{name}");
        }
        assert!(row.ends_with("\r\n") && head.ends_with("\r\n"));
    }

    #[test]
    fn no_cell_is_a_formula_and_none_breaks_the_row() {
        for (text, cell) in [
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("\tcmd", "\"'\tcmd\""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("小鹿", "小鹿"),
            ("", ""),
        ] {
            assert_eq!(shown(text), cell, "{text:?}");
        }
    }
}
