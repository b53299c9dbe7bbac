//! Accounts: which names are taken, and what is so already.

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::step::{Account, AccountKind, Step};

use super::refusals::{already, refused};
use super::stage::Stage;
use crate::model::OperationKind;

#[test]
fn accounts() {
    let app = |user: &str, database: &str| OperationKind::CreateAccount {
        account: Account {
            user: user.to_owned(),
            from: "%".to_owned(),
            kind: AccountKind::Application {
                database: database.to_owned(),
            },
        },
    };
    let mut stage = Stage::three();
    for (user, database) in [
        ("", "db"),
        ("root", "db"),
        ("mysql_router9", "db"),
        ("mysql.sys", "db"),
        ("a'b", "db"),
        ("app", "mysql"),
        ("app", ""),
        (&*"x".repeat(33), "db"),
    ] {
        assert_eq!(
            refused(&stage, app(user, database), "bad_account").exit,
            ExitClass::Usage
        );
    }
    let plan = stage.dry_plan(app("app", "appdb"));
    assert!(matches!(&plan.steps[0].step, Step::Account { secret, .. } if secret == "account:app@%"));
    stage.must(app("app", "appdb"));
    already(&stage, app("app", "appdb"));
    assert_eq!(
        refused(&stage, app("app", "other"), "account_exists").exit,
        ExitClass::Conflict
    );
    stage.must(OperationKind::DropAccount {
        user: "app".to_owned(),
        from: "%".to_owned(),
    });
    stage.dry_plan(app("app", "other"));
}
