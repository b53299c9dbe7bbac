//! An application: it writes one row after another wherever writes are taken, and remembers what it was told.

use std::sync::Arc;
use std::time::Duration;

use crate::story::Mark;
use crate::world::World;

/// A statement that is not answered is given up; nobody knows what became of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes for ever.
pub async fn run(world: Arc<World>) {
    let mut at = String::new();
    loop {
        tokio::time::sleep(world.chance.ms(40, 400)).await;
        let writable = world.writable();
        if writable.is_empty() {
            continue;
        }
        let (site, _) = world.chance.pick(&writable);
        let row = world.next_row();
        match tokio::time::timeout(PATIENCE, site.server.write(&site.name, row)).await {
            Ok(Ok(gtid)) => {
                if at != site.name {
                    at.clone_from(&site.name);
                    world
                        .story
                        .tell(format!("a client's row {row} is acknowledged by {at}: {gtid}"));
                }
                world.truth().acknowledged.insert(row);
                world.mark(Mark::Acknowledged);
            }
            Ok(Err(error)) if error.code == 3100 || error.is_broken() => world.mark(Mark::UnknownFate),
            Ok(Err(_)) => {}
            Err(_) => world.mark(Mark::UnknownFate),
        }
    }
}
