//! Pages of what is taken together: no group is on two of them, whatever their size.

use palladium::config::Config;

use crate::client::{Answer, Client, Node, Rows, with_server};

fn rows_of(client: &mut Client, statement: &str, size: i32) -> Vec<Rows> {
    let mut pages: Vec<Rows> = Vec::new();
    loop {
        let state = pages.last().and_then(|page| page.paging_state.clone());
        let page = client.query_page(statement, Some(size), state.as_deref());
        pages.push(page.rows());
        if pages.last().is_some_and(|page| page.paging_state.is_none()) {
            return pages;
        }
    }
}

#[test]
fn no_group_is_cut_by_a_page() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int, c int, d int, s int static, PRIMARY KEY (k, c, d))")
            .done();
        for k in 0..4 {
            for c in 0..5 {
                for d in 0..=c {
                    client
                        .query(&format!(
                            "INSERT INTO ks.t (k, c, d) VALUES ({k}, {c}, {d})"
                        ))
                        .done();
                }
            }
        }
        client.query("INSERT INTO ks.t (k, s) VALUES (9, 1)").done();
        for statement in [
            "SELECT k, c, count(*) FROM ks.t GROUP BY k, c",
            "SELECT k, c, count(*) FROM ks.t WHERE k IN (0, 1, 9, 3) GROUP BY k, c",
            "SELECT k, c, count(*) FROM ks.t WHERE k = 1 GROUP BY k, c ORDER BY c DESC",
            "SELECT k, c, count(*) FROM ks.t GROUP BY k, c PER PARTITION LIMIT 2",
            "SELECT k, c, count(*) FROM ks.t GROUP BY k, c LIMIT 7",
            "SELECT k, count(*) FROM ks.t GROUP BY k",
        ] {
            let whole = client.query(statement).rows().rows;
            for size in 1..=8 {
                let pages = rows_of(&mut client, statement, size);
                let (last, full) = pages.split_last().expect("there is a page");
                assert!(
                    last.rows.len() <= size as usize,
                    "{statement}, pages of {size}"
                );
                for page in full {
                    assert_eq!(
                        page.rows.len(),
                        size as usize,
                        "{statement}, pages of {size}"
                    );
                }
                let joined: Vec<_> = pages.into_iter().flat_map(|page| page.rows).collect();
                assert_eq!(joined, whole, "{statement}, pages of {size}");
            }
        }
        // One value for all rows is never cut.
        let pages = rows_of(&mut client, "SELECT count(*) FROM ks.t", 1);
        assert_eq!(pages.len(), 1);
    });
}

/// Under a small budget a page ends at its bytes, before it has all the rows that were asked for; whoever follows it gets each row once.
#[test]
fn a_page_of_large_rows_ends_early_and_the_next_goes_on_behind_it() {
    let node = Node::start_with(Config {
        memory_bytes: 64 << 20,
        ..Config::default()
    });
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, d int, v blob, PRIMARY KEY (k, c))")
        .done();
    let value = "7a".repeat(100_000);
    for (k, c) in (0..6).flat_map(|k| (0..20).map(move |c| (k, c))) {
        client
            .query(&format!(
                "INSERT INTO t (k, c, d, v) VALUES ({k}, {c}, {}, 0x{value})",
                c % 2
            ))
            .done();
    }
    for statement in [
        "SELECT k, c, v FROM t",
        "SELECT k, c, v FROM t WHERE k = 3",
        "SELECT k, c, v FROM t WHERE k IN (1, 4, 5)",
        "SELECT k, c, v FROM t PER PARTITION LIMIT 15",
        "SELECT k, c, v FROM t LIMIT 50",
        "SELECT k, c, v FROM t WHERE d = 1 PER PARTITION LIMIT 8 ALLOW FILTERING",
        "SELECT k, c, v FROM t WHERE d = 0 LIMIT 33 ALLOW FILTERING",
    ] {
        let keys = statement.replace("k, c, v", "k, c");
        let whole = client.query(&keys).rows().rows;
        let pages = rows_of(&mut client, statement, 5000);
        assert!(pages.len() > 1, "{statement}");
        let joined = pages.into_iter().flat_map(|page| page.rows);
        let joined: Vec<_> = joined.map(|row| row[..2].to_vec()).collect();
        assert_eq!(joined, whole, "{statement}");
    }
}

#[test]
fn a_slice_that_ends_at_a_null_cannot_be_paged_in_another_order_either() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (p int, c int, d int, PRIMARY KEY (p, c, d)) WITH CLUSTERING ORDER BY (c DESC, d DESC)")
            .done();
        let mut refused = |relations: &str| {
            let statement =
                format!("SELECT * FROM ks.t WHERE p IN (1, 2) AND {relations} ORDER BY c ASC");
            let page = client.query_page(&statement, Some(1), None);
            matches!(page, Answer::Error(0x2200, message) if message.starts_with("Cannot page queries"))
        };
        for relations in [
            "c > null",
            "c = 1 AND d >= null",
            "c IN (1, 2) AND d > null",
            "c > 0",
        ] {
            assert!(refused(relations), "{relations}");
        }
        // What is no slice at all has no order.
        for relations in ["c IN ()", "c > 5 AND c < 1"] {
            assert!(!refused(relations), "{relations}");
        }
    });
}

#[test]
fn a_description_comes_in_pages_of_one_schema() {
    with_server(|address| {
        let mut client = Client::connect(address);
        for table in ["a", "b", "c"] {
            let create = format!("CREATE TABLE ks.{table} (k int PRIMARY KEY)");
            client.query(&create).done();
        }
        let statement = "DESCRIBE KEYSPACE ks";
        let whole = client.query(statement).rows().rows;
        assert_eq!(whole.len(), 4);
        let pages = rows_of(&mut client, statement, 2);
        let sizes: Vec<usize> = pages.iter().map(|page| page.rows.len()).collect();
        assert_eq!(sizes, [2, 2, 0]);
        let state = pages[0].paging_state.clone().expect("there is more");
        let joined: Vec<_> = pages.into_iter().flat_map(|page| page.rows).collect();
        assert_eq!(joined, whole);
        for (other, state) in [
            (statement, &b""[..]),
            (statement, b"x"),
            ("DESC TABLES", &state),
        ] {
            let (code, message) = client.query_page(other, Some(2), Some(state)).error();
            assert_eq!(
                (code, &*message),
                (0x000a, "Invalid value for the paging state")
            );
        }
        client.query("DROP TABLE ks.c").done();
        let (code, message) = client.query_page(statement, Some(2), Some(&state)).error();
        assert_eq!(code, 0x2200);
        assert!(message.starts_with("The schema has changed since the previous page"));
    });
}
