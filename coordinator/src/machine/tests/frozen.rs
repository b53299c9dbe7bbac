//! Entries as earlier releases wrote them: they must be read for ever. Add lines; never change one.

use super::*;

const ENTRIES: &[&str] = &[
    r#"{"at":1,"by":"coordinator/1","change":{"change":"found","group":"00000000-0000-0000-0000-000000000007"}}"#,
    r#"{"at":2,"by":"operator/admin","change":{"change":"add_token","token":{"id":"t","secret_sha256":"00","roles":["db"],"host":null,"expires_at":99,"uses_left":5,"failures":0,"revoked":false,"created_by":"operator/admin","created_at":2}}}"#,
    r#"{"at":3,"by":"coordinator/1","change":{"change":"token_failure","id":"t"}}"#,
    r#"{"at":4,"by":"agent/node1","change":{"change":"enrol","token":"t","host":{"name":"node1","roles":[],"addresses":["10.0.0.1"],"enrolled_at":4,"key_sha256":"k","certificate_expires":50}}}"#,
    r#"{"at":5,"by":"agent/node1","change":{"change":"renew_host","host":{"name":"node1","roles":[],"addresses":["10.0.0.2"],"enrolled_at":4,"key_sha256":"k","certificate_expires":60}}}"#,
    r#"{"at":6,"by":"operator/admin","change":{"change":"submit","operation":{"id":0,"request_id":"r","cluster":"prod","kind":{"kind":"create","primary":"node1","with":[],"routers":[],"ignore_checks":[],"buffer_pool_bytes":null},"by":"operator/admin","submitted_at":6,"ended_at":null,"state":{"state":"waiting","why":"not planned yet"},"accept_lower_tolerance":false,"plans":[],"attempts":0,"not_before":0},"cluster_id":"00000000-0000-0000-0000-000000000001","group_name":"00000000-0000-0000-0000-000000000002","server_ids":[11,12]}}"#,
    r#"{"at":7,"by":"coordinator/1","change":{"change":"waiting","operation":6,"why":"node1 is silent"}}"#,
    r#"{"at":8,"by":"coordinator/1","change":{"change":"adopt","draft":{"cluster":"prod","operation":6,"parent":null,"steps":[{"number":1,"host":"node1","step":{"step":"promise"},"title":"promise","after":[],"best_effort":false,"finally":false,"state":{"state":"pending"}}],"report":["because"],"done_message":"formed"}}}"#,
    r#"{"at":9,"by":"coordinator/1","change":{"change":"outcome","plan":8,"step":1,"outcome":{"result":{"result":"changed","what":"promised"},"data":{"data":"facts","facts":{"a":"b"}},"elapsed_ms":3,"spent_ms":{"restart":2}}}}"#,
    r#"{"at":10,"by":"operator/admin","change":{"change":"submit","operation":{"id":0,"request_id":"s","cluster":"prod","kind":{"kind":"verify"},"by":"operator/admin","submitted_at":6,"ended_at":null,"state":{"state":"waiting","why":"not planned yet"},"accept_lower_tolerance":false,"plans":[],"attempts":0,"not_before":0},"cluster_id":"00000000-0000-0000-0000-000000000001","group_name":"00000000-0000-0000-0000-000000000002","server_ids":[]}}"#,
    r#"{"at":11,"by":"coordinator/1","change":{"change":"end_operation","operation":10,"result":{"Err":{"code":"no","message":"no","facts":["f"],"hint":"h","exit":"refused","retry":false}}}}"#,
    r#"{"at":12,"by":"operator/admin","change":{"change":"revoke_token","id":"t"}}"#,
    r#"{"at":13,"by":"operator/admin","change":{"change":"note","kind":"n","cluster":"prod","host":"node1","text":"x"}}"#,
    r#"{"at":14,"by":"operator/admin","change":{"change":"cancel","operation":10}}"#,
    r#"{"at":15,"by":"operator/admin","change":{"change":"remove_host","name":"node1"}}"#,
    r#"{"at":16,"by":"coordinator/1","change":{"change":"lineage","cluster":"prod","id":"17959497839767115","branch":{"generation":{"epoch":1,"index":8},"host":"node1"},"leads":true}}"#,
    r#"{"at":17,"by":"coordinator/1","change":{"change":"lineage","cluster":"prod","id":"17959497839767116+8","branch":{"parent":"17959497839767115","base":"6266fad8-e63f-11f1-a438-8e247ed30bec:1-9","abandoned":["node2"]},"leads":false}}"#,
];

#[test]
fn entries_of_earlier_releases_are_read() {
    let mut model = Model::new(Uuid::nil());
    let mut answers = Vec::new();
    for (index, text) in (1..).zip(ENTRIES) {
        let command: Command = serde_json::from_str(text).unwrap_or_else(|error| panic!("entry {index}: {error}"));
        answers.push(apply(&mut model, index, &command));
    }
    let rejected: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| matches!(answer, Answer::Rejected(_)))
        .map(|(n, _)| n + 1)
        .collect();
    assert_eq!(rejected, [14, 15], "{answers:?}");
    assert_eq!(model.operations.len(), 2);
    assert!(model.clusters.values().all(|cluster| cluster.formed));
}

#[test]
fn this_release_writes_them_like_that() {
    // Round trips through our own writer keep every entry as it is, field by field.
    for text in ENTRIES {
        let command: Command = serde_json::from_str(text).expect("readable");
        let written: serde_json::Value = serde_json::to_value(&command).expect("JSON");
        let old: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(written, old);
    }
}
