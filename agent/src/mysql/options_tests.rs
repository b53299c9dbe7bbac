//! The option file as text.

use super::*;
use crate::host::fake::FakeHost;

fn config(options: &[(&str, &str)]) -> ServerConfig {
    ServerConfig {
        cluster: "prod".parse().unwrap(),
        server_id: clusterctl_proto::ids::ServerId(92213542),
        report_host: "node1".parse().unwrap(),
        port: 3306,
        options: options
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect(),
    }
}

#[test]
fn the_file_holds_identity_tls_and_the_orders_options() {
    let text = render(
        &config(&[
            ("gtid_mode", "ON"),
            ("loose_group_replication_start_on_boot", "OFF"),
            ("skip_name_resolve", ""),
        ]),
        Path::new("/tls"),
    )
    .unwrap();
    assert_eq!(
        text,
        "# Written by clusterctl for cluster prod. It is overwritten: put settings of your own into another file.\n\n\
         [mysqld]\nserver_id = 92213542\nreport_host = node1\nport = 3306\nssl_ca = /tls/ca.pem\nssl_cert = /tls/server.pem\n\
         ssl_key = /tls/server.key\ngtid_mode = ON\nloose_group_replication_start_on_boot = OFF\nskip_name_resolve\n"
    );
}

#[test]
fn nothing_can_be_smuggled_in() {
    for (name, value) in [
        ("a", "1\n[client]"),
        ("a b", "1"),
        ("", "1"),
        ("a", "x # y"),
        ("init_file", "\"x\""),
    ] {
        let failure = render(&config(&[(name, value)]), Path::new("/tls")).unwrap_err();
        assert_eq!(failure.code, "option_malformed");
    }
}

#[tokio::test]
async fn it_lies_in_the_last_included_folder() {
    let debian = FakeHost::new().with_file(
        "/etc/mysql/my.cnf",
        "# x\n!includedir /etc/mysql/conf.d/\n!includedir /etc/mysql/mysql.conf.d/\n",
    );
    assert_eq!(
        path(&debian).await.unwrap(),
        Path::new("/etc/mysql/mysql.conf.d/zz-clusterctl.cnf")
    );
    let redhat = FakeHost::new().with_file("/etc/my.cnf", "[mysqld]\n!includedir /etc/my.cnf.d\n");
    assert_eq!(
        path(&redhat).await.unwrap(),
        Path::new("/etc/my.cnf.d/zz-clusterctl.cnf")
    );
    assert_eq!(
        path(&FakeHost::new()).await.unwrap(),
        Path::new("/etc/mysql/mysql.conf.d/zz-clusterctl.cnf")
    );
}

#[tokio::test]
async fn it_is_written_only_when_it_differs() {
    let host = FakeHost::new();
    let path = Path::new("/etc/mysql/mysql.conf.d/zz-clusterctl.cnf");
    assert!(write(&host, path, "a\n").await.unwrap());
    assert!(!write(&host, path, "a\n").await.unwrap());
    assert!(write(&host, path, "b\n").await.unwrap());
}

#[test]
fn option_spellings_name_a_variable() {
    assert_eq!(
        variable_name("loose-Group_Replication-consistency"),
        "group_replication_consistency"
    );
    assert!(rounded("innodb_buffer_pool_size", "100M", "134217728", 134_217_728));
    assert!(!rounded("innodb_buffer_pool_size", "100M", "268435456", 134_217_728));
    assert!(!rounded("max_connections", "100", "134217728", 134_217_728));
}
