//! Raft as the coordinators see it: one log with terms, shared by the simulated voters of one coordinator group.
//!
//! What raft promises is kept: a committed entry is never lost or changed, a term has one leader, and a command is answered only after it
//! was committed. What raft does not promise happens: a deposed leader believes to lead until it hears of the newer term, a command
//! may be stored although its caller was told nothing, a voter may be cut off, and the disk of a single voter may be
//! an old copy. The simulator decides when: it calls [`Log`]; each coordinator has a [`Node`] of it. Delays come from the caller,
//! and nothing here is random. A voter's work in the background belongs to the machine that asked for it, so it stands still and ends
//! with that machine.
//!
//! Freezing a machine does not cut its voter off: the simulator does both, in one step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clusterctl_coordinator::machine::{Answer, Command};
use clusterctl_coordinator::raft::{CommittedIndex, Consensus, Node, NodeId, State, not_leader};
use clusterctl_proto::failure::Failure;
use clusterctl_proto::machine;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

/// What takes time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A command, until a quorum has it on disk.
    Store,
    /// The question whether a voter leads, until a quorum has received it.
    Ask,
    /// The quorum's answer, until it arrives.
    Reply,
}

/// Draws how long one of these takes.
pub type Delays = Box<dyn FnMut(Way) -> Duration + Send>;

/// The log of one coordinator group; cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Inner>>);

struct Inner {
    /// The first one has index 1.
    entries: Vec<Entry>,
    /// Index of the newest entry that a quorum has.
    committed: u64,
    /// What the committed entries make, wherever they are applied.
    truth: Arc<State>,
    /// The newest one.
    term: u64,
    /// The winner of the newest term, while its process runs.
    leader: Option<NodeId>,
    voters: BTreeMap<NodeId, Voter>,
    waiting: Vec<Waiting>,
    delays: Delays,
}

struct Entry {
    term: u64,
    /// Who has it on its own disk, whatever the others have.
    by: NodeId,
    /// None: it begins a term.
    command: Option<Command>,
}

#[derive(Default)]
struct Voter {
    /// Counts starts of its process.
    life: u64,
    /// While its process runs.
    state: Option<Arc<State>>,
    /// Index of the newest entry that was applied; kept over restarts.
    applied: u64,
    cut: bool,
    /// The term in which it believes to lead.
    leads: Option<u64>,
    /// Who leads, as it has heard.
    follows: Option<NodeId>,
}

/// One that proposed a command and was told nothing yet.
struct Waiting {
    by: NodeId,
    term: u64,
    /// None: only the disk of a deposed leader has it.
    index: Option<u64>,
    answer: oneshot::Sender<Result<Answer, Failure>>,
}

impl Log {
    /// An empty log of these voters, none of which runs.
    pub fn new(voters: impl IntoIterator<Item = NodeId>, delays: Delays) -> Self {
        let voters = voters.into_iter().map(|id| (id, Voter::default())).collect();
        Self(Arc::new(Mutex::new(Inner {
            entries: Vec::new(),
            committed: 0,
            truth: State::new(),
            term: 0,
            leader: None,
            voters,
            waiting: Vec::new(),
            delays,
        })))
    }

    /// Commits a command at once, for what was before the simulation begins; answers what the state machine answers.
    pub fn write(&self, command: Command) -> Answer {
        let mut inner = self.lock();
        let (term, by) = (inner.term, inner.voters.keys().next().copied().unwrap_or_default());
        inner.entries.push(Entry {
            term,
            by,
            command: Some(command),
        });
        let index = inner.newest();
        inner.commit(index)
    }

    /// The model that the committed entries make; a voter's own may be older.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.lock().truth)
    }

    /// Starts the process of this voter: its model is what it had applied when it ended. It follows until it is elected, also
    /// where it is the only voter.
    pub fn start(&self, id: NodeId) -> Node {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let leader = inner.leader;
        let state = inner.replayed(inner.voters.get(&id).map_or(0, |voter| voter.applied));
        let voter = inner.voters.entry(id).or_default();
        voter.life += 1;
        voter.state = Some(Arc::clone(&state));
        voter.leads = None;
        voter.follows = leader.filter(|_| !voter.cut);
        let member = Member {
            log: self.clone(),
            id,
            life: voter.life,
            state: Arc::clone(&state),
        };
        inner.spread();
        inner.go_on();
        Node::of(Arc::new(member), state)
    }

    /// Its process has ended; what it proposed last may be committed later.
    pub fn stop(&self, id: NodeId) {
        let mut inner = self.lock();
        if inner.leader == Some(id) {
            inner.leader = None;
        }
        inner.waiting.retain(|waiting| waiting.by != id);
        if let Some(voter) = inner.voters.get_mut(&id) {
            (voter.state, voter.leads, voter.follows) = (None, None, None);
        }
    }

    /// Has this voter win a new term, with so many of the entries that are not committed (no fewer than it wrote itself); the others
    /// are lost. Answers the term; none: it does not run, or no quorum can vote for it. The leader before does not know it yet.
    pub fn elect(&self, id: NodeId, kept: usize) -> Option<u64> {
        let mut inner = self.lock();
        if !inner.is_reachable(id) || !inner.has_quorum() {
            return None;
        }
        inner.step_down(id);
        let tail = usize::try_from(inner.committed).unwrap_or(usize::MAX);
        let own = inner.entries.iter().rposition(|entry| entry.by == id);
        let own = own.map_or(0, |place| (place + 1).saturating_sub(tail));
        inner.entries.truncate(tail.saturating_add(kept.max(own)));
        inner.term += 1;
        let term = inner.term;
        inner.leader = Some(id);
        for (other, voter) in &mut inner.voters {
            if *other == id {
                voter.leads = Some(term);
            }
            if voter.state.is_some() && !voter.cut && (voter.leads.is_none() || *other == id) {
                voter.follows = Some(id);
            }
        }
        inner.entries.push(Entry {
            term,
            by: id,
            command: None,
        });
        let newest = inner.newest();
        inner.commit(newest);
        Some(term)
    }

    /// This voter hears of the newest term and of what was committed, if it can be reached.
    pub fn tell(&self, id: NodeId) {
        let mut inner = self.lock();
        if inner.is_reachable(id) {
            inner.hear(id);
        }
    }

    /// Cuts this voter off from all others, or no more. One that is reached again has what was committed, unless it leads an older term:
    /// then it goes on as before until it asks, proposes or is told ([`Self::tell`]).
    pub fn cut(&self, id: NodeId, cut: bool) {
        let mut inner = self.lock();
        if let Some(voter) = inner.voters.get_mut(&id) {
            voter.cut = cut;
        }
        if !cut && inner.is_reachable(id) {
            if !inner.is_stale(id) {
                inner.hear(id);
            }
            inner.go_on();
        }
    }

    /// Puts back a copy of the disk of the only voter, as it was when its log ended at this index; its process must not run. False, and
    /// nothing changed, where that is not so. Terms are used again, as they are on a real disk.
    pub fn restore(&self, id: NodeId, index: u64) -> bool {
        let mut inner = self.lock();
        let alone = inner.voters.keys().eq([&id]);
        if !alone || inner.voters.values().any(|voter| voter.state.is_some()) {
            return false;
        }
        inner.entries.truncate(usize::try_from(index).unwrap_or(usize::MAX));
        let newest = inner.newest();
        inner.committed = inner.committed.min(newest);
        inner.term = inner.entries.last().map_or(0, |entry| entry.term);
        let committed = inner.committed;
        inner.truth = inner.replayed(committed);
        if let Some(voter) = inner.voters.get_mut(&id) {
            voter.applied = voter.applied.min(committed);
        }
        true
    }

    /// Index of the newest committed entry.
    pub fn committed(&self) -> u64 {
        self.lock().committed
    }

    /// How many entries follow the newest committed one.
    pub fn uncommitted(&self) -> usize {
        let inner = self.lock();
        usize::try_from(inner.newest() - inner.committed).unwrap_or(usize::MAX)
    }

    /// The voter that leads in the newest term, while its process runs: what others believe is theirs.
    pub fn leader(&self) -> Option<NodeId> {
        self.lock().leader
    }

    /// The newest term.
    pub fn term(&self) -> u64 {
        self.lock().term
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Index of the newest entry.
    fn newest(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        let place = usize::try_from(index.checked_sub(1)?).ok()?;
        self.entries.get(place).map(|entry| entry.term)
    }

    /// It runs and is not cut off.
    fn is_reachable(&self, id: NodeId) -> bool {
        self.voters
            .get(&id)
            .is_some_and(|voter| voter.state.is_some() && !voter.cut)
    }

    /// It was deposed, and does not know it.
    fn is_stale(&self, id: NodeId) -> bool {
        let leads = self.voters.get(&id).and_then(|voter| voter.leads);
        leads.is_some_and(|term| term != self.term)
    }

    fn has_quorum(&self) -> bool {
        let reachable = self.voters.keys().filter(|id| self.is_reachable(**id)).count();
        reachable * 2 > self.voters.len()
    }

    /// It leads in the newest term, and a quorum follows it.
    fn commands(&self, id: NodeId) -> bool {
        self.leader == Some(id) && self.is_reachable(id) && self.has_quorum()
    }

    /// The voter of this process, if it still runs.
    fn living(&self, member: &Member) -> Option<&Voter> {
        let voter = self.voters.get(&member.id)?;
        (voter.state.is_some() && voter.life == member.life).then_some(voter)
    }

    /// What the entries up to this one make.
    fn replayed(&self, index: u64) -> Arc<State> {
        let state = State::new();
        for (index, entry) in (1..=index).zip(&self.entries) {
            state.apply(index, entry.command.as_ref());
        }
        state
    }

    /// A quorum has everything up to this entry. Answers what the newest one answers.
    fn commit(&mut self, index: u64) -> Answer {
        let mut answer = Answer::Applied;
        for index in self.committed + 1..=index.min(self.newest()) {
            let place = usize::try_from(index - 1).unwrap_or(usize::MAX);
            let Some(entry) = self.entries.get(place) else { break };
            answer = self.truth.apply(index, entry.command.as_ref());
            self.committed = index;
        }
        self.spread();
        answer
    }

    /// A leader that has a quorum again commits what it has.
    fn go_on(&mut self) {
        if self.leader.is_some_and(|leader| self.commands(leader)) {
            let newest = self.newest();
            self.commit(newest);
        }
    }

    /// Committed entries are applied wherever they arrive: not at voters that are cut off, nor at one that leads an older term.
    fn spread(&mut self) {
        let mut answers = Vec::new();
        for (id, voter) in &mut self.voters {
            let hears = !voter.cut && voter.leads.is_none_or(|term| term == self.term);
            let Some(state) = voter.state.as_ref().filter(|_| hears) else {
                continue;
            };
            for index in voter.applied + 1..=self.committed {
                let place = usize::try_from(index - 1).unwrap_or(usize::MAX);
                let Some(entry) = self.entries.get(place) else { break };
                let answer = state.apply(index, entry.command.as_ref());
                voter.applied = index;
                if voter.leads == Some(entry.term) {
                    answers.push((*id, entry.term, index, answer));
                }
            }
        }
        for (by, term, index, answer) in answers {
            let is = |waiting: &Waiting| waiting.by == by && waiting.term == term && waiting.index == Some(index);
            if let Some(place) = self.waiting.iter().position(is) {
                // One that does not wait any more is told nothing.
                let _ = self.waiting.remove(place).answer.send(Ok(answer));
            }
        }
    }

    /// The voter hears of the newest term.
    fn hear(&mut self, id: NodeId) {
        if self.is_stale(id) {
            self.step_down(id);
        }
        let leader = self.leader;
        if let Some(voter) = self.voters.get_mut(&id) {
            voter.follows = leader;
        }
        self.spread();
    }

    /// The voter leads no more, as it knows now: whoever waits for it is told so, also of what may be committed by another.
    fn step_down(&mut self, id: NodeId) {
        let leader = self.leader.filter(|leader| *leader != id);
        if let Some(voter) = self.voters.get_mut(&id) {
            voter.leads = None;
            voter.follows = leader;
        }
        let (own, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| waiting.by == id);
        self.waiting = others;
        let own: Vec<Waiting> = own;
        for waiting in own {
            // One that does not wait any more is told nothing.
            let _ = waiting.answer.send(Err(not_leader(leader)));
        }
    }
}

/// One process of a voter.
struct Member {
    log: Log,
    id: NodeId,
    life: u64,
    state: Arc<State>,
}

impl Member {
    /// The term in which this process believes to lead. A process that has ended is told nothing more.
    async fn believes(&self) -> Result<u64, Failure> {
        let voter = {
            let inner = self.log.lock();
            inner
                .living(self)
                .map(|voter| voter.leads.ok_or_else(|| not_leader(voter.follows)))
        };
        match voter {
            Some(leads) => leads,
            None => std::future::pending().await,
        }
    }

    fn draw(&self, way: Way) -> Duration {
        (self.log.lock().delays)(way)
    }

    /// Writes into the log of this leader; answers the index, and none where it was deposed: the entry is on its own disk only.
    fn write(&self, term: u64, command: Command) -> (Option<u64>, oneshot::Receiver<Result<Answer, Failure>>) {
        let mut inner = self.log.lock();
        let leads = inner.leader == Some(self.id) && inner.term == term;
        let index = leads.then(|| {
            inner.entries.push(Entry {
                term,
                by: self.id,
                command: Some(command),
            });
            inner.newest()
        });
        let (answer, answered) = oneshot::channel();
        inner.waiting.push(Waiting {
            by: self.id,
            term,
            index,
            answer,
        });
        (index, answered)
    }

    /// The entry of this term has reached the others, if it could.
    fn arrived(log: &Log, (id, life): (NodeId, u64), term: u64, index: Option<u64>) {
        let mut inner = log.lock();
        let lives = inner
            .voters
            .get(&id)
            .is_some_and(|voter| voter.life == life && voter.leads == Some(term));
        if !lives || !inner.is_reachable(id) {
            return;
        }
        if inner.term != term {
            inner.hear(id);
        } else if let Some(index) = index.filter(|index| inner.term_at(*index) == Some(term))
            && inner.commands(id)
        {
            inner.commit(index);
        }
    }
}

impl Consensus for Member {
    fn id(&self) -> NodeId {
        self.id
    }

    fn is_alone(&self) -> bool {
        self.log.lock().voters.len() == 1
    }

    fn leads(&self) -> Option<u64> {
        self.log.lock().living(self)?.leads
    }

    fn leader(&self) -> Option<NodeId> {
        let inner = self.log.lock();
        let voter = inner.living(self)?;
        voter.leads.map(|_| self.id).or(voter.follows)
    }

    fn confirm(&self) -> BoxFuture<'_, Result<CommittedIndex, Failure>> {
        Box::pin(async {
            let term = self.believes().await?;
            tokio::time::sleep(self.draw(Way::Ask)).await;
            let confirmed = {
                let mut inner = self.log.lock();
                if inner.living(self).is_none() || !inner.is_reachable(self.id) {
                    None
                } else if inner.term != term || inner.leader != Some(self.id) {
                    inner.hear(self.id);
                    Some(Err(not_leader(inner.leader)))
                } else {
                    inner.commands(self.id).then_some(Ok(()))
                }
            };
            match confirmed {
                Some(confirmed) => confirmed?,
                // Nobody answers: the caller waits no longer than it wants.
                None => std::future::pending().await,
            }
            tokio::time::sleep(self.draw(Way::Reply)).await;
            let index = *self.state.changes().borrow();
            Ok(CommittedIndex { term, index })
        })
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async {
            let term = self.believes().await?;
            let (index, answered) = self.write(term, command);
            let (log, process, delay) = (self.log.clone(), (self.id, self.life), self.draw(Way::Store));
            // As raft does: the entry goes its way whether or not its proposer waits.
            machine::spawn(async move {
                tokio::time::sleep(delay).await;
                Self::arrived(&log, process, term, index);
            });
            match answered.await {
                Ok(answer) => answer,
                // Its process has ended.
                Err(_) => std::future::pending().await,
            }
        })
    }
}
