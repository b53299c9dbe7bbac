//! The script of [`crate::mysqld::conformance`], on simulated servers.

use super::{SqlError, Three};
use crate::mysqld::conformance::{self, Bench, Rows};

impl Three {
    fn place(&self, host: &str) -> usize {
        ["node1", "node2", "node3"]
            .iter()
            .position(|name| *name == host)
            .unwrap()
    }
}

impl Bench for Three {
    fn hosts(&self) -> [&str; 3] {
        ["node1", "node2", "node3"]
    }

    async fn sql(&self, host: &str, text: &str) -> Result<Rows, SqlError> {
        let rows = self.all[self.place(host)].root(text).await?;
        let cells = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect();
        Ok(rows.into_iter().map(cells).collect())
    }

    async fn kill(&self, host: &str) -> Result<(), String> {
        self.all[self.place(host)].kill9();
        Ok(())
    }

    async fn start(&self, host: &str) -> Result<(), String> {
        let server = &self.all[self.place(host)];
        server.start_process();
        while !server.is_ready() {
            super::sleep(0.05).await;
        }
        Ok(())
    }

    async fn freeze(&self, host: &str) -> Result<(), String> {
        self.all[self.place(host)].freeze();
        Ok(())
    }

    async fn thaw(&self, host: &str) -> Result<(), String> {
        self.all[self.place(host)].thaw();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn simulated_servers_pass_the_script() {
    for seed in 1..=10 {
        let three = Three::new(seed).await;
        // As a server that a group was on before: the statistics have a row.
        for server in &three.all {
            let _ = server.root("STOP GROUP_REPLICATION").await;
        }
        let mut held = Vec::new();
        let result = conformance::run(&three, |what| held.push(what.to_owned())).await;
        assert_eq!(result, Ok(()), "seed {seed}, after {held:?}");
        assert!(three.net.unknown().is_empty(), "{:?}", three.net.unknown());
        assert_eq!(held.len(), 17);
        assert!(three.all[0].diverges(&three.all[2]).is_some());
    }
}
