//! The write scheduler: deficit round robin with sparse streams first, as in fq_codel (RFC 8290, sections 4.1 and 4.2),
//! over streams that want to send instead of queued packets.
//!
//! A stream is *sparse* while its writes fit into a burst of one frame, which is renewed after the stream was idle;
//! then it is a *bulk* stream. Bulk streams send in *rounds*, and all tasks run between two rounds. A stream that
//! has to wait enters the list of its kind and is woken with a *grant*: space in the send queue is reserved for it
//! until its task writes. Reservations expire, because a task may never write.

use std::collections::VecDeque;

use crate::{
    frame::{HEADER_LEN, MAX_PAYLOAD},
    streams::{Flow, Key, List, Store, StreamEntry},
};

/// The number of frames that bulk streams send in a round. A round is the quantum of a stream as well, and the size of the
/// largest receive buffer. On a Unix socket one stream reaches 88 % of the raw speed, with half as much 81 %; twice as
/// much exceeds the buffer of the socket, which then stops in the middle of a frame.
pub(crate) const ROUND_FRAMES: usize = 12;

/// The same in bytes.
const ROUND: usize = ROUND_FRAMES * MAX_PAYLOAD;

/// The size of a round while sparse streams write: a small call beside a bulk stream takes 2.4 times its time alone.
/// With half as much it is 2.3 times, and the bulk stream is a third slower; with twice as much 3.4 times.
const SHORT_ROUND: usize = 2 * MAX_PAYLOAD;

/// For how many rounds a sparse write makes rounds short. With half as many, rounds become large between the calls
/// of one caller; eight times as many measure the same, and slow a bulk stream that is alone again.
const SHORT_ROUNDS: u8 = 8;

/// After how many rounds without a write a stream is sparse again. One round may end between two writes of a task.
const IDLE_ROUNDS: u32 = 2;

/// The number of bytes by which a write may exceed the limit of the queue if its reservation has expired. Such a write
/// would otherwise wait again, and a task that always runs last would never write.
pub(crate) const LATE: usize = 2 * (HEADER_LEN + MAX_PAYLOAD);

/// The number of stale entries that the lists may have, beyond twice the number of live streams.
const MAX_STALE: usize = 64;

/// The send queue as the scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) len: usize,
    pub(super) limit: usize,
    /// The connection takes nothing at the moment.
    pub(super) is_blocked: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Bulk streams may send.
    #[default]
    Open,
    /// The round was used up, and the driver is to be polled.
    Spent,
    /// All tasks run before the next round.
    Yielding,
}

/// The scheduler of a session.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    /// Sparse streams that wait.
    new: VecDeque<Key>,
    /// Bulk streams that wait.
    old: VecDeque<Key>,
    /// The bulk stream whose grant is outstanding, and the poll in which it was granted.
    bulk: Option<(Key, u32)>,
    /// Bytes of the queue that were reserved in the driver's last two polls, by the lowest bit of the poll's number.
    reserved: [usize; 2],
    /// The number of the driver's poll.
    poll: u32,
    /// The number of the round.
    round: u32,
    phase: Phase,
    /// The bytes that bulk streams have sent in this round.
    sent: usize,
    /// The bytes of sparse streams that have bypassed waiting bulk streams since the last grant to one of these.
    bypassed: usize,
    /// The number of rounds that are still short.
    short_rounds: u8,
}

impl Scheduler {
    /// Returns how much of a write of `wanted` bytes the stream may send now; `None` if it waits for a grant.
    #[inline]
    pub(super) fn admit(
        &mut self,
        key: Key,
        flow: &mut Flow,
        wanted: usize,
        queue: Queue,
    ) -> Option<usize> {
        self.classify(key, flow, wanted);
        let mut is_late = false;
        if flow.granted > 0 {
            // On a blocked connection a bulk stream gets its reservation and no more.
            let has_reservation = !queue.is_blocked || flow.is_sparse || flow.reserved > 0;
            if has_reservation && queue.len < queue.limit.saturating_add(LATE) {
                return Some(flow.granted.max(MAX_PAYLOAD));
            }
            is_late = has_reservation;
            self.give_up(key, flow);
        } else if flow.list == List::None && self.has_space(queue) {
            let is_free = self.is_empty() && self.phase == Phase::Open;
            if is_free && (flow.is_sparse || !queue.is_blocked) {
                return Some(self.left());
            }
            if flow.is_sparse && !self.is_bulk_overdue(queue) {
                return Some(wanted);
            }
        }
        self.enqueue(key, flow, wanted, is_late, queue);
        None
    }

    /// Decides whether the stream is sparse, given the length of its next write.
    fn classify(&mut self, key: Key, flow: &mut Flow, wanted: usize) {
        let idle_since = flow.idle_since.take();
        if idle_since.is_some_and(|since| self.round.wrapping_sub(since) >= IDLE_ROUNDS) {
            flow.is_sparse = true;
            flow.credit = Flow::BURST;
        }
        let fits = usize::try_from(flow.credit).is_ok_and(|credit| wanted <= credit);
        if !flow.is_sparse || fits {
            return;
        }
        // The whole write counts: a part that is sent ahead would put later quanta out of step with the writes.
        flow.is_sparse = false;
        flow.credit = 0;
        // A grant for a small write does not cover a large one.
        self.give_up(key, flow);
        if flow.list == List::New {
            flow.list = List::Old;
            self.old.push_back(key);
        }
    }

    fn enqueue(&mut self, key: Key, flow: &mut Flow, wanted: usize, is_late: bool, queue: Queue) {
        flow.wanted = wanted;
        if flow.list != List::None {
            return;
        }
        let (list, waiting) = if flow.is_sparse {
            (List::New, &mut self.new)
        } else {
            if queue.is_blocked && flow.has_round {
                // Other streams wait for the connection: the quantum was a frame.
                flow.has_round = false;
                flow.credit = (flow.credit - (ROUND - MAX_PAYLOAD) as i32).max(1 - Flow::BURST);
            }
            (List::Old, &mut self.old)
        };
        flow.list = list;
        if is_late || (!flow.is_sparse && flow.credit > 0) {
            waiting.push_front(key);
        } else {
            waiting.push_back(key);
        }
    }

    /// The stream sends `length` bytes of the admitted write of `wanted` bytes.
    #[inline]
    pub(super) fn sent(&mut self, key: Key, flow: &mut Flow, length: u32, wanted: usize) {
        flow.is_charged = flow.granted > 0 || flow.is_sparse;
        if flow.granted > 0 {
            self.release_reservation(flow);
            flow.granted = flow.granted.saturating_sub(length as usize);
            if flow.granted == 0 || flow.is_sparse {
                self.give_up(key, flow);
            }
        }
        if flow.is_charged {
            flow.credit = flow.credit.saturating_sub_unsigned(length);
        } else {
            // No other stream waits, so the quantum begins when one does.
            flow.credit = 0;
        }
        if flow.is_sparse {
            self.short_rounds = SHORT_ROUNDS;
            if !self.old.is_empty() {
                self.bypassed = self.bypassed.saturating_add(HEADER_LEN + length as usize);
            }
        } else {
            self.sent += length as usize;
            if self.phase == Phase::Open && self.sent >= self.limit() {
                self.phase = Phase::Spent;
            }
        }
        if length as usize == wanted {
            flow.idle_since = Some(self.round);
        }
    }

    /// The connection did not take the last `length` bytes that the stream sent.
    pub(super) fn refund(&mut self, flow: &mut Flow, length: u32) {
        if flow.is_charged {
            flow.credit = flow.credit.saturating_add_unsigned(length);
        }
        flow.idle_since = None;
        if !flow.is_sparse {
            self.sent = self.sent.saturating_sub(length as usize);
            if self.phase == Phase::Spent && self.sent < self.limit() {
                self.phase = Phase::Open;
            }
        }
    }

    /// The stream cannot use its grant, because it has no window or has to wait again.
    pub(super) fn give_up(&mut self, key: Key, flow: &mut Flow) {
        self.release_reservation(flow);
        flow.granted = 0;
        self.bulk.take_if(|(bulk, _)| *bulk == key);
    }

    /// The stream has no window. It does not count as idle, because it would become sparse again.
    pub(super) fn stall(&mut self, key: Key, flow: &mut Flow) {
        flow.idle_since = None;
        self.give_up(key, flow);
    }

    fn release_reservation(&mut self, flow: &mut Flow) {
        let reserved = std::mem::take(&mut flow.reserved);
        if self.poll.wrapping_sub(flow.granted_in) < 2 {
            let bucket = &mut self.reserved[(flow.granted_in & 1) as usize];
            *bucket = bucket.saturating_sub(reserved);
        }
    }

    /// Grants the next stream a write, if there is space in the queue. The caller wakes its task.
    pub(super) fn grant(&mut self, store: &mut Store, queue: Queue) -> Option<Key> {
        while self.has_space(queue) {
            let is_bulk = self.is_bulk_overdue(queue) || self.new.is_empty();
            if is_bulk && (self.bulk.is_some() || !self.can_bulk_run(queue)) {
                return None;
            }
            let (list, waiting) = if is_bulk {
                (List::Old, &mut self.old)
            } else {
                (List::New, &mut self.new)
            };
            let key = waiting.pop_front()?;
            let entry = store.get_mut(key);
            if let Some(entry) = entry.filter(|entry| is_waiting(entry, list)) {
                self.grant_write(key, &mut entry.flow, queue);
                return Some(key);
            }
        }
        None
    }

    fn grant_write(&mut self, key: Key, flow: &mut Flow, queue: Queue) {
        flow.list = List::None;
        flow.granted = if flow.is_sparse {
            flow.wanted.max(1)
        } else {
            if flow.credit <= 0 {
                let quantum = if queue.is_blocked { MAX_PAYLOAD } else { ROUND };
                flow.has_round = quantum == ROUND;
                flow.credit += quantum as i32;
            }
            self.bulk = Some((key, self.poll));
            self.bypassed = 0;
            self.left().min(flow.credit.max(1).unsigned_abs() as usize)
        };
        // A frame and not the whole grant, because large writes bypass the queue.
        flow.reserved = HEADER_LEN + flow.wanted.min(MAX_PAYLOAD);
        flow.granted_in = self.poll;
        self.reserved[(self.poll & 1) as usize] += flow.reserved;
    }

    /// The driver is polled. Tasks that were granted a write before its last poll have had time to write.
    pub(super) fn begin_poll(&mut self, is_queue_empty: bool) {
        self.poll = self.poll.wrapping_add(1);
        self.reserved[(self.poll & 1) as usize] = 0;
        let poll = self.poll;
        self.bulk
            .take_if(|(_, granted_in)| poll.wrapping_sub(*granted_in) >= 2);
        if self.phase == Phase::Yielding {
            self.phase = Phase::Open;
            self.round = self.round.wrapping_add(1);
            self.sent = 0;
            self.short_rounds = self.short_rounds.saturating_sub(1);
        } else if self.phase == Phase::Open && is_queue_empty && self.is_empty() {
            // Everything was sent and no stream waits, so a round has ended.
            self.round = self.round.wrapping_add(1);
        }
    }

    /// The poll of the driver ends. Returns whether all tasks are to run before the next one.
    pub(super) fn end_poll(&mut self) -> bool {
        let is_spent = self.is_spent();
        if is_spent {
            self.phase = Phase::Yielding;
        }
        is_spent
    }

    /// Returns `true` if a round was used up and the driver is to be polled.
    pub(super) fn is_spent(&self) -> bool {
        self.phase == Phase::Spent
    }

    /// Returns `true` if the driver is to be polled again because streams wait although the queue has space: it may be
    /// reserved for a task that never writes.
    pub(super) fn needs_poll(&self, queue: Queue) -> bool {
        queue.len < queue.limit && (!self.new.is_empty() || self.can_bulk_run(queue))
    }

    /// Returns `true` if a bulk stream waits and may send.
    fn can_bulk_run(&self, queue: Queue) -> bool {
        let is_free = !queue.is_blocked || self.is_bulk_overdue(queue);
        !self.old.is_empty() && self.phase == Phase::Open && is_free
    }

    /// The starvation bound of bulk streams: no more than a queue's limit bypasses them.
    fn is_bulk_overdue(&self, queue: Queue) -> bool {
        !self.old.is_empty() && self.bypassed >= queue.limit
    }

    fn has_space(&self, queue: Queue) -> bool {
        queue.len + self.reserved[0] + self.reserved[1] < queue.limit
    }

    /// The bytes that may still be sent in this round, at least a frame.
    fn left(&self) -> usize {
        self.limit().saturating_sub(self.sent).max(MAX_PAYLOAD)
    }

    fn limit(&self) -> usize {
        if self.short_rounds > 0 {
            SHORT_ROUND
        } else {
            ROUND
        }
    }

    /// Returns `true` if no stream waits.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.old.is_empty()
    }

    /// The number of entries in the lists, stale ones included.
    pub(super) fn len(&self) -> usize {
        self.new.len() + self.old.len()
    }

    /// Removes the streams that no longer wait, if there are many.
    pub(super) fn purge(&mut self, store: &Store) {
        if self.len() > 2 * store.live() + MAX_STALE {
            for (list, waiting) in [(List::New, &mut self.new), (List::Old, &mut self.old)] {
                waiting.retain(|key| store.get(*key).is_some_and(|entry| is_waiting(entry, list)));
            }
        }
    }

    /// No stream waits any more.
    pub(super) fn clear(&mut self) {
        self.new.clear();
        self.old.clear();
    }
}

fn is_waiting(entry: &StreamEntry, list: List) -> bool {
    entry.flow.list == list && entry.state.can_send()
}
