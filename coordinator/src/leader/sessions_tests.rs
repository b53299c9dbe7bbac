//! Two streams under one identity, second by second.

use super::*;

const T0: Duration = Duration::from_secs(100);

/// One host whose machines answer, or do not.
struct Scene {
    sessions: Sessions,
    host: HostName,
    start: Instant,
    streams: Vec<(SessionId, mpsc::Receiver<ToAgent>, CancellationToken)>,
}

impl Scene {
    fn new() -> Self {
        Self {
            sessions: Sessions::default(),
            host: "node1".parse().expect("name"),
            start: Instant::now(),
            streams: Vec::new(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + T0 + Duration::from_millis(ms)
    }

    /// A stream opens, and both are asked. Answers its place.
    fn open(&mut self, ms: u64, boot: &str, instance: &str) -> usize {
        let (sender, receiver) = mpsc::channel(64);
        let peer = PeerFacts {
            key_sha256: "key".to_owned(),
            serial: "1".to_owned(),
            not_after: i64::MAX,
        };
        let speaker = Speaker {
            boot_id: boot.to_owned(),
            instance: instance.to_owned(),
            peer: ([192, 0, 2, 1], 1000 + u16::try_from(self.streams.len()).expect("few")).into(),
        };
        let (now, ended) = (self.at(ms), CancellationToken::new());
        let id = self
            .sessions
            .open(&self.host, peer, speaker, now, sender, ended.clone());
        self.sessions.ask(&self.host, now, false, Vec::new(), None);
        self.streams.push((id, receiver, ended));
        self.streams.len() - 1
    }

    /// The agent at this stream answers everything that it was asked.
    fn answer(&mut self, ms: u64, place: usize) {
        let now = self.at(ms);
        let (id, receiver, _) = &mut self.streams[place];
        while let Ok(ToAgent { message }) = receiver.try_recv() {
            if let Some(to_agent::Message::Question(question)) = message {
                self.sessions.answered(&self.host, *id, question.id, now);
            }
        }
    }

    fn ask(&mut self, ms: u64) {
        let now = self.at(ms);
        self.sessions.ask(&self.host, now, false, Vec::new(), None);
    }

    /// The place of the stream that speaks.
    fn speaks(&mut self, ms: u64) -> Option<usize> {
        let now = self.at(ms);
        self.sessions.settle(now);
        let current = self.sessions.current(&self.host)?;
        self.streams.iter().position(|(id, ..)| *id == current)
    }

    fn twins(&self) -> bool {
        matches!(self.sessions.doubt(&self.host), Some(Doubt::Twins(_)))
    }

    fn is_ended(&self, place: usize) -> bool {
        self.streams[place].2.is_cancelled()
    }
}

#[test]
fn a_power_cycle_of_two_seconds_takes_over_at_once_and_without_an_alarm() {
    let mut scene = Scene::new();
    let before = scene.open(0, "boot 1", "a");
    scene.answer(10, before);
    // The power fails right after an answer, and the next question is not answered.
    scene.ask(960);
    let after = scene.open(2010, "boot 2", "b");
    assert_eq!(scene.speaks(2010), Some(after));
    assert!(scene.is_ended(before) && !scene.twins());
    scene.answer(2020, after);
    assert_eq!(scene.speaks(2020), Some(after));
}

#[test]
fn a_silent_old_stream_holds_the_new_one_up_for_two_seconds_at_most() {
    let mut scene = Scene::new();
    let before = scene.open(0, "boot 1", "a");
    scene.answer(0, before);
    // A container that restarts at once: it was heard just now, and is gone.
    let after = scene.open(300, "boot 1", "b");
    scene.answer(310, after);
    for ms in [310, 1000, 1999] {
        assert_eq!(scene.speaks(ms), None, "{ms}");
        assert!(!scene.twins());
    }
    scene.ask(1250);
    scene.answer(1260, after);
    assert_eq!(scene.speaks(2000), Some(after));
    assert!(scene.is_ended(before) && !scene.is_ended(after) && !scene.twins());
}

#[test]
fn an_old_stream_that_closes_leaves_the_say_to_the_new_one_at_once() {
    let mut scene = Scene::new();
    let before = scene.open(0, "boot 1", "a");
    scene.answer(10, before);
    let after = scene.open(200, "boot 1", "b");
    assert_eq!(scene.speaks(200), None);
    let id = scene.streams[before].0;
    scene.sessions.close(&scene.host, id);
    assert_eq!(scene.speaks(201), Some(after));
}

#[test]
fn a_reconnect_of_the_same_process_counts_at_once() {
    let mut scene = Scene::new();
    let before = scene.open(0, "boot 1", "a");
    scene.answer(10, before);
    let after = scene.open(200, "boot 1", "a");
    assert_eq!(scene.speaks(200), Some(after));
    let again = scene.open(400, "boot 1", "a");
    assert_eq!(scene.speaks(400), Some(again));
    assert!(scene.is_ended(before), "only the stream before is kept, as a witness");
    scene.answer(500, again);
    scene.ask(1600);
    scene.answer(1610, again);
    assert_eq!(scene.speaks(2600), Some(again));
    assert!(scene.is_ended(after) && !scene.twins());
}

#[test]
fn while_two_machines_answer_neither_speaks() {
    let mut scene = Scene::new();
    let original = scene.open(0, "boot 1", "a");
    scene.answer(10, original);
    let copy = scene.open(500, "boot 2", "b");
    scene.answer(510, copy);
    assert_eq!(scene.speaks(510), None, "the original is asked first");
    scene.answer(520, original);
    assert_eq!(scene.speaks(520), None);
    assert!(scene.twins());
    assert!(!scene.is_ended(original) && !scene.is_ended(copy));
    for second in 1..=10 {
        let ms = 520 + second * 950;
        scene.ask(ms);
        scene.answer(ms + 5, original);
        scene.answer(ms + 5, copy);
        assert_eq!(scene.speaks(ms + 10), None, "{second}");
        assert!(scene.twins());
    }
    // The mysqld of the original does not answer for a while, so its agent answers late.
    let mut last = 520 + 10 * 950;
    for ms in [950, 1900, 2850, 3800] {
        scene.ask(last + ms);
        scene.answer(last + ms + 5, copy);
        assert_eq!(scene.speaks(last + ms + 5), None, "{ms}");
        assert!(scene.twins() && !scene.is_ended(original));
    }
    last += 3805;
    scene.answer(last, original);
    // The copy is switched off: five seconds later only the original answers, and two more end the alarm.
    for second in 1..=7 {
        assert!(scene.twins(), "{second}");
        scene.ask(last + second * 950);
        scene.answer(last + second * 950 + 5, original);
        scene.speaks(last + second * 950 + 5);
    }
    assert_eq!(scene.speaks(last + 7005), Some(original));
    assert!(!scene.twins());
}

/// A VM that was copied while it ran has the same boot id, and its agent the same id.
#[test]
fn a_copy_of_a_running_machine_is_found_when_the_original_answers() {
    let mut scene = Scene::new();
    let original = scene.open(0, "boot 1", "a");
    scene.answer(10, original);
    let copy = scene.open(500, "boot 1", "a");
    scene.answer(510, copy);
    scene.answer(520, original);
    assert_eq!(scene.speaks(520), None);
    assert!(scene.twins());
}

/// Whose streams break each other never answer at the same time.
#[test]
fn machines_that_alternate_are_two() {
    let mut scene = Scene::new();
    for (number, boot) in ["boot 1", "boot 2", "boot 1"].into_iter().enumerate() {
        let ms = number as u64 * 5000;
        let place = scene.open(ms, boot, "a");
        scene.answer(ms + 5, place);
        let speaks = scene.speaks(ms + 10);
        assert_eq!(speaks.is_none(), number == 2, "{boot}");
        if number < 2 {
            let id = scene.streams[place].0;
            scene.sessions.close(&scene.host, id);
        }
    }
    assert!(scene.twins());
    for second in 11..40 {
        scene.ask(second * 1000);
        scene.answer(second * 1000 + 5, 2);
        scene.speaks(second * 1000 + 5);
        assert_eq!(scene.twins(), second < 40, "{second}");
    }
    scene.ask(40_000);
    scene.answer(40_005, 2);
    assert_eq!(scene.speaks(40_005), Some(2));
}

#[test]
fn nothing_is_ordered_while_two_machines_are_in_doubt() {
    let mut scene = Scene::new();
    let original = scene.open(0, "boot 1", "a");
    scene.answer(10, original);
    let copy = scene.open(500, "boot 2", "b");
    let (host, step) = (scene.host.clone(), (PlanId(1), 1));
    let cancel = || to_agent::Message::Cancel(Default::default());
    assert!(!scene.sessions.send_step(&host, step, cancel()));
    scene.sessions.send_cancel(&host, step, cancel());
    let told = |scene: &mut Scene, place: usize| {
        let mut told = 0;
        while let Ok(ToAgent { message }) = scene.streams[place].1.try_recv() {
            told += u32::from(!matches!(message, Some(to_agent::Message::Question(_))));
        }
        told
    };
    assert_eq!((told(&mut scene, original), told(&mut scene, copy)), (0, 0));
    assert!(!scene.sessions.is_sent(&host, step) && !scene.sessions.was_ever_sent(step));
    // The original's messages are taken all the same: it may have an order from before.
    assert_eq!(scene.sessions.holder(&host), Some(scene.streams[original].0));
    let id = scene.streams[copy].0;
    scene.sessions.close(&host, id);
    assert!(scene.sessions.send_step(&host, step, cancel()));
    assert_eq!(told(&mut scene, original), 1);
}

#[test]
fn a_third_machine_takes_the_place_of_the_second() {
    let mut scene = Scene::new();
    let original = scene.open(0, "boot 1", "a");
    scene.answer(10, original);
    let second = scene.open(100, "boot 2", "b");
    let third = scene.open(200, "boot 3", "c");
    assert!(scene.is_ended(second) && !scene.is_ended(original) && !scene.is_ended(third));
    scene.answer(210, third);
    scene.answer(220, original);
    assert!(scene.twins());
    // The original reconnects: it is still contested, and has the older place.
    let again = scene.open(300, "boot 1", "a");
    assert!(scene.is_ended(original) && !scene.is_ended(third));
    assert_eq!(scene.sessions.holder(&scene.host), Some(scene.streams[again].0));
    assert_eq!(scene.speaks(300), None);
}

/// Its stream stands, and three plain questions and a full one were not answered: it is asked again all the same.
#[test]
fn an_agent_that_let_questions_unanswered_is_asked_again_when_they_are_lost() {
    let mut scene = Scene::new();
    scene.open(0, "boot", "process");
    let every = Duration::from_secs(1);
    let full_every = Duration::from_secs(60);
    let due = |scene: &Scene, ms: u64| {
        let due = scene.sessions.due(&scene.host, scene.at(ms), every, full_every);
        due.first().map(|(_, full)| *full)
    };
    assert_eq!(due(&scene, 1000), Some(true));
    for (ms, full) in [(1000, true), (2000, false), (3000, false)] {
        let (host, now) = (scene.host.clone(), scene.at(ms));
        scene.sessions.ask(&host, now, full, Vec::new(), None);
    }
    assert_eq!(due(&scene, 19_000), None, "it is not asked faster than it answers");
    assert_eq!(due(&scene, 20_000), Some(false), "the first plain one is lost");
    assert_eq!(due(&scene, 70_000), Some(true), "and so is the full one");
}
