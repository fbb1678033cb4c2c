//! A write-ahead log that is damaged: said, unless it may be the end of a commit that a loss of power cut off.

use super::super::{Role, Store, log};
use super::*;
use std::fs;

/// A frame: its head and a page.
const FRAME: usize = 24 + 4096;

/// What is in front of all frames.
const HEAD: usize = 32;

/// Database and log of a shop with so many credits, as a killed process leaves them.
fn left(credits: i64) -> (Vec<u8>, Vec<u8>) {
    let shop = Shop::new();
    for _ in 0..credits {
        shop.commit(of(vec![shop.credit("c", 1)]));
    }
    let read = |name: &str| fs::read(shop.dir.path().join(name)).unwrap();
    (read("lull.db"), read("lull.db-wal"))
}

/// Opens a copy as everybody who may; they must agree.
fn open(database: &[u8], log: &[u8]) -> Result<Store, OpenError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.db");
    fs::write(&path, database).unwrap();
    fs::write(log::beside(&path), log).unwrap();
    let roles = [Role::Auditor, Role::Tool, Role::Server];
    let [auditor, tool, server] =
        roles.map(|role| Store::open(&path, role).map_err(|error| (error, fs::read(log::beside(&path)).unwrap())));
    assert_eq!(tool.is_ok(), server.is_ok());
    // To an auditor a database that is still empty is none; the others begin it.
    assert!(auditor.is_ok() == server.is_ok() || matches!(auditor, Err((OpenError::Foreign, _))));
    server.map_err(|(error, left)| {
        assert!(left == log, "it was changed");
        error
    })
}

/// Commits in whole frames behind this one.
fn commits_behind(log: &[u8], frame: usize) -> usize {
    log[HEAD..].chunks_exact(FRAME).skip(frame + 1).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[test]
fn a_log_that_is_damaged_before_its_last_commits_is_refused_whatever_is_damaged() {
    let (database, log) = left(10);
    let frames = (log.len() - HEAD) / FRAME;
    assert!(frames > 20 && open(&database, &log).is_ok());
    for frame in (0..frames).step_by(7) {
        // Page number, size, salts, checksum, page: first and last octet.
        for place in [0, 7, 8, 15, 16, 23, 24, FRAME - 1] {
            let mut damaged = log.clone();
            damaged[HEAD + frame * FRAME + place] ^= 1;
            let behind = commits_behind(&log, frame);
            // The damaged one may look like a commit, or no longer.
            match open(&database, &damaged) {
                Err(OpenError::Log { commits, .. }) => assert!(commits as usize <= behind, "{frame}, {place}: {commits}"),
                Err(error) => panic!("{frame}, {place}: {error}"),
                Ok(store) => {
                    assert!(behind <= 2, "{frame}, {place}: {behind} commits are gone without a word");
                    drop(store);
                }
            }
        }
    }
    for place in 0..HEAD {
        let mut damaged = log.clone();
        damaged[place] ^= 0x10;
        assert!(matches!(open(&database, &damaged), Err(OpenError::Log { .. })), "octet {place} of the head");
    }
}

#[test]
fn a_log_that_ends_in_the_middle_of_a_commit_is_none_the_worse() {
    let (database, log) = left(10);
    for end in (0..log.len()).step_by(8887) {
        assert!(open(&database, &log[..end]).is_ok(), "cut at {end}");
    }
    // The last commit, not yet whole when the power went: some of its sectors are there, some not.
    let frames = (log.len() - HEAD) / FRAME;
    let begin = (0..frames).rev().find(|frame| commits_behind(&log, *frame) == 1).unwrap() + 1;
    for sector in ((HEAD + begin * FRAME)..log.len()).step_by(1536) {
        let mut torn = log.clone();
        let end = (sector + 512).min(log.len());
        torn[sector..end].fill(0);
        assert!(open(&database, &torn).is_ok(), "without the sector at {sector}");
    }
}

#[test]
fn what_failed_commits_left_behind_is_no_damage() {
    let (database, log) = left(10);
    let frame = |index: usize| &log[HEAD + index * FRAME..HEAD + (index + 1) * FRAME];
    let commits: Vec<usize> = (0..(log.len() - HEAD) / FRAME).filter(|index| frame(*index)[4..8] != [0; 4]).collect();
    let frames = |from: usize, to: usize| -> Vec<u8> { (from..=to).flat_map(|index| frame(index).to_vec()).collect() };
    let good = || [&log[..HEAD], &frames(0, commits[4])].concat();
    // The end of a commit, without the beginning that a later one was written over.
    let end = |commit: usize| frames(commits[commit - 1] + 2, commits[commit]);
    assert!(open(&database, &[good(), end(6), end(8), end(7)].concat()).is_ok());
    // Two that continue each other were not written over each other.
    let both = frames(commits[5] + 2, commits[7]);
    assert!(matches!(open(&database, &[good(), both].concat()), Err(OpenError::Log { commits: 2, .. })));
}

#[test]
fn what_an_earlier_round_of_the_log_left_behind_is_no_damage() {
    let shop = Shop::new();
    for _ in 0..20 {
        shop.commit(of(vec![shop.credit("c", 1)]));
    }
    // Brought into the database, the log begins anew at its beginning; behind it lies what was there before.
    let other = rusqlite::Connection::open(shop.path()).unwrap();
    other.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
    drop(other);
    shop.commit(of(vec![shop.credit("c", 1)]));
    let read = |name: &str| fs::read(shop.dir.path().join(name)).unwrap();
    let (database, log) = (read("lull.db"), read("lull.db-wal"));
    assert!(open(&database, &log).is_ok());
    // The first frame of the new round: its only commit may have been under way.
    let mut torn = log.clone();
    torn[HEAD + 100] ^= 1;
    assert!(open(&database, &torn).is_ok());
}

#[test]
fn a_store_that_is_closed_leaves_one_whole_file() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 7)]));
    assert_eq!(shop.wallet("c"), (7, 0), "a connection that reads is open");
    shop.store.close();
    assert!(!log::beside(&shop.path()).exists(), "all of it is in the database");
    assert_eq!(shop.wallet("c"), (7, 0), "reads go on");
}
