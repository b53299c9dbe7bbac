//! What speaks against the data on record: a refusal or a trip that the log tells of, transactions that are gone, a copy that no step made.
//!
//! Asked by `look.rs` before anything else of a look is taken into account. Pure.

use clusterctl_proto::ids::ServerUuid;
use clusterctl_proto::lineage::{LineageId, Trust};

use super::look::{Look, inside};
use super::{Record, member};

impl Record {
    /// The newest view that the server is known to have been in, where it matters what came after it.
    pub fn looked_for(&self, server_uuid: ServerUuid) -> Option<(LineageId, u64)> {
        let member = self
            .member
            .as_ref()
            .filter(|member| member.server_uuid == server_uuid)?;
        let doubtful = member.trust == Trust::Verified || member.before.is_some();
        (doubtful && member.counter > 0).then(|| (member.id.clone(), member.counter))
    }

    /// The log tells that these data are not those on record any more: a group of their own lineage refused them, after which a second START
    /// would succeed (docs/lineages.md); or they were in another group since, and perhaps came back.
    pub(super) fn doubted(&mut self, look: &Look<'_>) -> bool {
        let (Some(log), Some(member)) = (look.log, &self.member) else {
            return false;
        };
        let unverified = member.trust == Trust::Unverified;
        // What it entered with may still prove an unverified one, unless it was elsewhere since.
        if member.server_uuid != look.server_uuid || unverified && member.before.is_none() {
            return false;
        }
        let refused = log.refused_since(&member.id, &self.log_seen);
        let returned = inside(look.view).is_some_and(|(id, _)| id.prefix() == member.id.prefix())
            || look.last_in.is_some_and(|last| last.id.prefix() == member.id.prefix());
        let elsewhere = returned
            && member.counter > 0
            && log.went_elsewhere(&member.id, member.counter, look.older, &self.log_seen);
        if refused || elsewhere {
            self.distrust();
        }
        !unverified && (refused || elsewhere)
    }

    /// What a server has executed it never loses but by a person's hand: RESET BINARY LOGS AND GTIDS, after which gtid_purged may be set to
    /// anything, or an older copy of its files. Its numbers do not tell any more what its data are, however well they compare.
    pub(super) fn loses(&mut self, look: &Look<'_>) -> bool {
        if self.is_being_copied(look.server_uuid) {
            return false;
        }
        // A copy by hand is told as what it is. What a step was about to start with need not have been executed.
        let told = look.cloned.filter(|told| !told.is_empty());
        let copied = told.is_some_and(|told| self.cloned.as_deref().is_some_and(|known| known != told));
        let before = self.out.as_mut().filter(|out| out.server_uuid == look.server_uuid);
        let Some(out) = before.filter(|out| !copied && out.at.is_some() && !out.lost) else {
            return false;
        };
        if look.executed.contains(&out.executed) {
            return false;
        }
        out.lost = true;
        if std::mem::take(&mut self.adopts) && self.member.is_none() {
            self.member = Some(member(look.server_uuid, LineageId::origin()));
        }
        self.distrust();
        true
    }

    /// A copy that no step made has replaced the data: what is on record is of those before.
    pub(super) fn replaced(&mut self, look: &Look<'_>) -> bool {
        // Only the last clone is told: one of this server's data to elsewhere hides the one that they are of.
        let told = look.cloned.filter(|cloned| !cloned.is_empty() || self.cloned.is_none());
        let Some(cloned) = told.filter(|_| !self.is_being_copied(look.server_uuid)) else {
            return false;
        };
        let before = self.cloned.replace(cloned.to_owned());
        let by_hand = before.is_some_and(|before| before != cloned);
        let Some(member) = self.member.as_mut().filter(|_| by_hand) else {
            return false;
        };
        (member.trust, member.before, member.branch) = (Trust::Unverified, None, None);
        (self.out, self.bootstrapping) = (None, None);
        self.new_data();
        true
    }
}
