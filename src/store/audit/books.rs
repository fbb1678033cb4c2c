//! The sums of a vendor's records against those of her ledger, each made by itself.

use super::Findings;
use crate::money::{Currency, Money};
use crate::store::StoreError;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fmt;

/// What a vendor's records and ledger come to in one currency. Refunds after a call was settled are transfers of their own and not in it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Book {
    /// The vendor's name, and the currency.
    pub vendor: String,
    /// See `vendor`.
    pub currency: String,
    /// Settled calls.
    pub records: i64,
    /// What their records charge, in minor units.
    pub charged: i64,
    /// What was captured of holds.
    pub captured: i64,
    /// What was posted to companions when calls were settled, and what their records say of it.
    pub to_companions: (i64, i64),
    /// The same for the vendor.
    pub to_vendor: (i64, i64),
}

impl Book {
    /// Whether all of it is the same money.
    pub fn adds_up(&self) -> bool {
        self.charged == self.captured
            && self.to_companions.0 == self.to_companions.1
            && self.to_vendor.0 == self.to_vendor.1
            && self.to_companions.0.checked_add(self.to_vendor.0) == Some(self.charged)
    }
}

/// One line for people.
impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vendor, currency, records, charged, captured, to_companions, to_vendor } = self;
        let code = currency.parse::<Currency>();
        let shown = |amount: i64| code.as_ref().map_or_else(|_| amount.to_string(), |currency| Money::new(amount, *currency).decimal());
        write!(
            f,
            "{vendor}, {currency}: {records} records charge {}; captured {}; posted {} to companions and {} to the vendor",
            shown(*charged),
            shown(*captured),
            shown(to_companions.0),
            shown(to_vendor.0)
        )
    }
}

pub(super) fn check(connection: &Connection, findings: &mut Findings) -> Result<Vec<Book>, StoreError> {
    let mut books = BTreeMap::<(String, String), Book>::new();
    let mut add = |sql: &str, put: fn(&mut Book, &[i64; 4])| -> Result<(), StoreError> {
        let mut select = connection.prepare(sql)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let key: (String, String) = (row.get(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default());
            let sums = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
            let book = books.entry(key.clone()).or_default();
            (book.vendor, book.currency) = key;
            put(book, &sums);
        }
        Ok(())
    };
    // A record that is no JSON is found elsewhere; here it counts as nothing.
    add(
        "SELECT vendor, body ->> '$.charge.currency', count(*), coalesce(sum(body ->> '$.charge.amount'), 0),
                coalesce(sum(body ->> '$.shares[0].amount.amount'), 0), coalesce(sum(body ->> '$.shares[1].amount.amount'), 0)
         FROM (SELECT vendor, iif(json_valid(body), body, '{}') AS body FROM record JOIN call ON call.id = record.call) GROUP BY 1, 2",
        |book, sums| [book.records, book.charged, book.to_companions.1, book.to_vendor.1] = *sums,
    )?;
    add(
        "SELECT call.vendor, currency, sum(captured), 0, 0, 0 FROM hold JOIN call ON call.id = hold.call JOIN account ON account.id = account
         WHERE settled_at IS NOT NULL GROUP BY 1, 2",
        |book, sums| book.captured = sums[0],
    )?;
    add(
        "SELECT transfer.vendor, currency, sum(iif(account.kind = 'companion', amount, 0)), sum(iif(account.kind = 'vendor', amount, 0)), 0, 0
         FROM transfer JOIN posting ON transfer = transfer.id JOIN account ON account.id = posting.account
         WHERE transfer.kind = 'capture' GROUP BY 1, 2",
        |book, sums| (book.to_companions.0, book.to_vendor.0) = (sums[0], sums[1]),
    )?;
    let mut books: Vec<Book> = books.into_values().collect();
    for book in &mut books {
        let mut name = connection.prepare_cached("SELECT name FROM vendor WHERE id = ?")?;
        let id = std::mem::take(&mut book.vendor);
        book.vendor = name.query_one([&id], |row| row.get(0)).unwrap_or_else(|_| id.clone());
        findings.expect(book.adds_up(), "books", &id, || format!("its records say another sum than its ledger: {book}"));
    }
    Ok(books)
}
