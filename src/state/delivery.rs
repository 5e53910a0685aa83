//! How far lines were handed to Wazuh, and what has to be true for them to count as delivered. Never touches a line.

use serde::{Deserialize, Serialize};

use super::StateFolder;
use super::record::StateFile;
use crate::wazuh::analysisd::barrier::Life;
use crate::wazuh::analysisd::stats::Counters;
use crate::wazuh::wodle::{Parent, SocketId};

/// A place in a lane of the spool: everything in earlier segments lies before it, and so many bytes of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Number of the segment.
    pub segment: u64,
    /// Bytes of it, its header included.
    pub byte: u64,
}

/// A place in each lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// In that of collector events, which go first.
    pub notices: Mark,
    /// In that of Akamai's events.
    pub events: Mark,
}

/// Lines that were handed over by one run and are not known to have arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// To whom.
    pub parent: Parent,
    /// Wazuh's queue socket as it was then.
    pub socket: Option<SocketId>,
    /// How far lines were written whole.
    pub to: Progress,
    /// Lines written whole by that run, these and others.
    #[serde(default)]
    pub lines: u64,
    /// What analysisd's counters were before the first of them, where they can be had.
    #[serde(default)]
    pub counters: Option<Counters>,
    /// The first alert of that life of analysisd may have been glued to half a line.
    #[serde(default)]
    pub may_be_glued: bool,
}

/// What became of lines that were handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are in Wazuh.
    Arrived,
    /// They may not be: they must be handed over again.
    Lost,
    /// The same; nothing took them away, so the wodle forwards nothing any more.
    NotForwarded,
    /// They still wait in analysisd.
    Waiting,
}

/// Lines that were sent to analysisd, and what was known of it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Everything before this it had received, and dropped nothing of it.
    pub received: Progress,
    /// What is known of its present life.
    pub memory: Life,
}

/// How the last run with lines for analysisd went, for who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRate {
    /// Lines a second that it took while there were some.
    pub lines_per_s: u64,
    /// Lines sent that were not confirmed when the run ended.
    pub unconfirmed: u64,
    /// Events of command wodles and of ours that it had dropped since its start.
    pub dropped: u64,
}

/// How near the last run with lines for the wodle came to what it forwards, for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WodleShare {
    /// Lines that were handed over.
    pub lines: u64,
    /// Lines that it forwards in one interval.
    pub lines_max: u64,
    /// Bytes that were handed over.
    #[serde(default)]
    pub bytes: u64,
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Everything before this has been delivered.
    pub delivered: Progress,
    /// What was handed over since.
    pub batch: Option<Batch>,
    /// What analysisd has received since, where the queue is the output. What 0.1.0 kept here under another name says too
    /// little of analysisd: those lines are sent again.
    #[serde(default)]
    pub sent: Option<Queued>,
    /// How that went.
    #[serde(default)]
    pub queue_rate: Option<QueueRate>,
    /// How near the wodle is to its bound.
    #[serde(default)]
    pub wodle_share: Option<WodleShare>,
    /// The first run under the present wazuh-modulesd: which one, and the socket that it must have connected to; none where
    /// that was gone by then, for a wodle runs nothing before it is connected.
    pub first_seen: Option<(Parent, Option<SocketId>)>,
}

impl Delivery {
    /// The greatest number of a segment that this knows of: no later one may have it again.
    pub fn last_segment(&self) -> u64 {
        let batch = self.batch.as_ref().map(|batch| batch.to);
        let queued = self.sent.map(|queued| queued.received);
        let known = [Some(self.delivered), batch, queued].into_iter().flatten();
        known.map(|to| to.events.segment.max(to.notices.segment)).max().unwrap_or(0)
    }

    /// Takes note of a run under `parent` that finds the queue socket as `socket`; returns what became of the batch before
    /// (none if there was no batch). What was lost is handed over again. `counted`: what analysisd's counters say of a batch;
    /// none where they cannot be had.
    ///
    /// A wodle calls the program again only when it has forwarded the whole output of the run before. So under the same
    /// wazuh-modulesd a batch has been forwarded; and it has reached analysisd if the socket was not replaced meanwhile. A
    /// parent of another name has taken what was written whole.
    pub fn begin_run(
        &mut self,
        parent: &Parent,
        socket: Option<&SocketId>,
        counted: impl FnOnce(&Batch) -> Option<Fate>,
    ) -> Option<Fate> {
        if parent.is_modulesd() && self.is_new_parent(parent) {
            self.first_seen = Some((parent.clone(), socket.cloned()));
        }
        let batch = self.batch.take()?;
        let was_forwarded = batch.parent == *parent && socket.is_some() && batch.socket.as_ref() == socket;
        let fate = match (batch.parent.is_modulesd(), was_forwarded) {
            (false, _) => Fate::Arrived,
            (true, false) => Fate::Lost,
            (true, true) => counted(&batch).unwrap_or(Fate::Arrived),
        };
        match fate {
            Fate::Arrived => self.delivered = batch.to,
            Fate::Lost => {}
            Fate::NotForwarded => self.note_mute(parent),
            Fate::Waiting => self.batch = Some(batch),
        }
        Some(fate)
    }

    /// The wodle above has lost its connection, whatever stands at the socket's place now.
    pub fn note_mute(&mut self, parent: &Parent) {
        self.first_seen = Some((parent.clone(), None));
    }

    /// Whether this is the first run under this parent that is known of.
    pub fn is_new_parent(&self, parent: &Parent) -> bool {
        self.first_seen.as_ref().is_none_or(|(first, _)| first != parent)
    }

    /// Whether the wodle above has lost its connection to the queue for good: the socket it connected to is no longer
    /// there, and it never connects again (observed on 4.14.9).
    pub fn is_mute(&self, parent: &Parent, socket: Option<&SocketId>) -> bool {
        parent.is_modulesd()
            && self
                .first_seen
                .as_ref()
                .is_some_and(|(first, seen)| first == parent && (seen.is_none() || seen.as_ref() != socket))
    }
}

/// Where the record is kept.
pub type DeliveryFile = StateFile<Delivery>;

impl DeliveryFile {
    /// The one of the folder.
    pub fn of(state: &StateFolder) -> Self {
        Self::named(state, "delivery")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parent(pid: i32, start: u64, name: &str) -> Parent {
        Parent { boot: 1, pid, start, name: name.into() }
    }

    fn socket(inode: u64) -> SocketId {
        SocketId { device: 1, inode, made_ns: 5 }
    }

    fn batch(parent: &Parent, socket: Option<SocketId>, to: Progress) -> Batch {
        Batch { parent: parent.clone(), socket, to, lines: 3, counters: None, may_be_glued: false }
    }

    #[test]
    fn no_number_that_is_known_comes_again() {
        let place = |segment| Progress { notices: Mark { segment, byte: 1 }, ..Progress::default() };
        let mut delivery = Delivery { delivered: place(2), ..Delivery::default() };
        assert_eq!(delivery.last_segment(), 2);
        let memory = Life { counters: Counters::default(), may_be_glued: false };
        delivery.sent = Some(Queued { received: place(7), memory });
        assert_eq!(delivery.last_segment(), 7);
        delivery.batch = Some(batch(&parent(1, 1, "x"), None, place(9)));
        assert_eq!(delivery.last_segment(), 9);
    }

    fn handed_over(parent: &Parent, socket: &SocketId) -> Delivery {
        let to = Progress { events: Mark { segment: 3, byte: 7 }, ..Progress::default() };
        let batch = Some(batch(parent, Some(socket.clone()), to));
        Delivery { batch, first_seen: Some((parent.clone(), Some(socket.clone()))), ..Delivery::default() }
    }

    #[test]
    fn a_batch_counts_under_the_same_modulesd_and_socket_only() {
        let modulesd = parent(10, 100, "wazuh-modulesd");
        for (next, found, arrived) in [
            (modulesd.clone(), Some(socket(1)), true),
            (Parent { boot: 2, ..modulesd.clone() }, Some(socket(1)), false),
            (parent(10, 101, "wazuh-modulesd"), Some(socket(1)), false),
            (parent(11, 100, "wazuh-modulesd"), Some(socket(1)), false),
            (parent(12, 9, "bash"), Some(socket(1)), false),
            (modulesd.clone(), Some(socket(2)), false),
            (modulesd.clone(), None, false),
        ] {
            let mut delivery = handed_over(&modulesd, &socket(1));
            let fate = if arrived { Fate::Arrived } else { Fate::Lost };
            assert_eq!(delivery.begin_run(&next, found.as_ref(), |_| None), Some(fate), "{next:?} {found:?}");
            assert_eq!(delivery.delivered.events.segment == 3, arrived);
            assert_eq!(delivery.batch, None);
        }
    }

    #[test]
    fn what_is_handed_over_while_there_is_no_socket_does_not_count() {
        let modulesd = parent(10, 100, "wazuh-modulesd");
        let mut delivery = handed_over(&modulesd, &socket(1));
        delivery.batch = delivery.batch.map(|batch| Batch { socket: None, ..batch });
        assert_eq!(delivery.begin_run(&modulesd, None, |_| None), Some(Fate::Lost));
    }

    #[test]
    fn what_the_counters_say_of_a_batch_decides() {
        let modulesd = parent(10, 100, "wazuh-modulesd");
        for fate in [Fate::Arrived, Fate::Lost, Fate::NotForwarded, Fate::Waiting] {
            let mut delivery = handed_over(&modulesd, &socket(1));
            assert_eq!(delivery.begin_run(&modulesd, Some(&socket(1)), |_| Some(fate)), Some(fate));
            assert_eq!(delivery.delivered.events.segment == 3, fate == Fate::Arrived);
            assert_eq!(delivery.batch.is_some(), fate == Fate::Waiting);
        }
    }

    #[test]
    fn another_parent_has_what_was_written_whole() {
        let mut delivery = handed_over(&parent(7, 1, "bash"), &socket(1));
        assert_eq!(
            delivery.begin_run(&parent(8, 2, "wazuh-modulesd"), Some(&socket(2)), |_| None),
            Some(Fate::Arrived)
        );
    }

    #[test]
    fn a_wodle_whose_socket_was_replaced_is_mute_until_modulesd_is_new() {
        let modulesd = parent(10, 100, "wazuh-modulesd");
        let mut delivery = Delivery::default();
        delivery.begin_run(&modulesd, Some(&socket(1)), |_| None);
        assert!(!delivery.is_mute(&modulesd, Some(&socket(1))));
        delivery.begin_run(&modulesd, Some(&socket(2)), |_| None);
        assert!(delivery.is_mute(&modulesd, Some(&socket(2))) && delivery.is_mute(&modulesd, None));
        assert!(!delivery.is_mute(&parent(3, 3, "bash"), Some(&socket(2))));
        // One whose socket was gone before it ran us for the first time.
        let mut late = Delivery::default();
        late.begin_run(&modulesd, None, |_| None);
        assert!(late.is_mute(&modulesd, None) && late.is_mute(&modulesd, Some(&socket(2))));
        let restarted = parent(20, 200, "wazuh-modulesd");
        delivery.begin_run(&restarted, Some(&socket(2)), |_| None);
        assert!(!delivery.is_mute(&restarted, Some(&socket(2))));
    }
}
