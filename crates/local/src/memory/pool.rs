//! The accounts of a memory budget, and the requests that wait for it. No task and no clock.
//!
//! A request of an account that holds memory (a *growing* one) is granted before all others, since others wait for its memory; of
//! two the older account is first. An account that holds memory and has no request is closed after a bounded time. If all that hold
//! memory have requests and none fits, the youngest is refused, so that the oldest, which fits into the budget, proceeds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Weak;

use tokio::sync::oneshot;

use super::MemoryError;
use super::kept::Evict;

#[derive(Debug)]
pub(super) struct Pool {
    size: u64,
    copies: u64,
    free: u64,
    /// The number of the next account, request or kept value.
    next: u64,
    accounts: BTreeMap<u64, Account>,
    /// In order of arrival.
    requests: Vec<Request>,
    /// The oldest first.
    kept: VecDeque<Kept>,
}

#[derive(Debug, Default)]
struct Account {
    /// The bytes of its messages.
    needed: u64,
    /// Bytes of the budget that it holds.
    held: u64,
    n_requests: usize,
}

#[derive(Debug)]
struct Request {
    ticket: u64,
    account: u64,
    /// The account of the message that is going to be copied.
    original: Option<u64>,
    bytes: u64,
    result: ResultSender,
}

type ResultSender = oneshot::Sender<Result<(), MemoryError>>;

#[derive(Debug)]
struct Kept {
    ticket: u64,
    bytes: u64,
    value: Weak<dyn Evict>,
}

impl Pool {
    pub(super) fn new(size: u64, copies: u64) -> Self {
        let size = size.max(1);
        Self {
            size,
            copies: copies.max(1),
            free: size,
            next: 0,
            accounts: BTreeMap::new(),
            requests: Vec::new(),
            kept: VecDeque::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn available(&self) -> u64 {
        self.free
    }

    /// Opens an account, younger than all others.
    pub(super) fn open(&mut self) -> u64 {
        let account = self.number();
        self.accounts.insert(account, Account::default());
        account
    }

    pub(super) fn close(&mut self, account: u64) {
        if let Some(account) = self.accounts.remove(&account) {
            self.free += account.held;
            self.settle();
        }
    }

    pub(super) fn held(&self, account: u64) -> u64 {
        self.accounts
            .get(&account)
            .map_or(0, |account| account.held)
    }

    /// Requests memory for a message of `bytes` bytes. The receiver may hold the result already.
    pub(super) fn request(
        &mut self,
        account: u64,
        original: Option<u64>,
        bytes: u64,
    ) -> Result<(u64, oneshot::Receiver<Result<(), MemoryError>>), MemoryError> {
        let needed = self.needed(account).saturating_add(bytes);
        let needed = needed.saturating_add(self.beside(original));
        if needed > self.size {
            let size = self.size;
            return Err(MemoryError::TooLarge { needed, size });
        }
        let ticket = self.number();
        let (result, receiver) = oneshot::channel();
        self.requests.push(Request {
            ticket,
            account,
            original,
            bytes,
            result,
        });
        self.count_requests(account, original, |n| n + 1);
        self.settle();
        Ok((ticket, receiver))
    }

    /// Withdraws a request; `false` if it was granted or refused already.
    pub(super) fn withdraw(&mut self, ticket: u64) -> bool {
        let index = self.requests.iter().position(|one| one.ticket == ticket);
        let Some(index) = index else {
            return false;
        };
        drop(self.take(index));
        self.settle();
        true
    }

    /// Takes `bytes` bytes of messages out of an account.
    pub(super) fn release(&mut self, account: u64, bytes: u64) {
        let (size, copies) = (self.size, self.copies);
        if let Some(account) = self.accounts.get_mut(&account) {
            account.needed = account.needed.saturating_sub(bytes);
            let kept = account.needed.saturating_mul(copies).min(size);
            let surplus = account.held.saturating_sub(kept);
            account.held -= surplus;
            self.free += surplus;
        }
        self.settle();
    }

    /// Moves everything that one account holds to another.
    pub(super) fn transfer(&mut self, from: u64, to: u64) {
        let moved = self.accounts.get_mut(&from).map(|account| {
            let moved = (account.needed, account.held);
            (account.needed, account.held) = (0, 0);
            moved
        });
        if let (Some((needed, held)), Some(account)) = (moved, self.accounts.get_mut(&to)) {
            account.needed += needed;
            account.held += held;
        }
        self.settle();
    }

    /// Counts a value that is kept as long as no request needs its memory; `None` if there is none now.
    pub(super) fn keep(&mut self, bytes: u64, value: Weak<dyn Evict>) -> Option<u64> {
        if bytes > self.free || !self.requests.is_empty() {
            return None;
        }
        self.free -= bytes;
        let ticket = self.number();
        self.kept.push_back(Kept {
            ticket,
            bytes,
            value,
        });
        Some(ticket)
    }

    /// Returns the memory of a kept value, unless it was evicted.
    pub(super) fn drop_kept(&mut self, ticket: u64) {
        if let Some(index) = self.kept.iter().position(|kept| kept.ticket == ticket) {
            let kept = self.kept.remove(index);
            self.free += kept.map_or(0, |kept| kept.bytes);
            self.settle();
        }
    }

    /// Grants requests as far as memory is free, and refuses one of a deadlock.
    fn settle(&mut self) {
        while let Some(index) = self.first() {
            let needed = self.missing(&self.requests[index]);
            while needed > self.free
                && let Some(kept) = self.kept.pop_front()
            {
                kept.value.upgrade().iter().for_each(|kept| kept.evict());
                self.free += kept.bytes;
            }
            if needed <= self.free {
                self.grant(index, needed);
            } else if let Some(youngest) = self.youngest_of_a_deadlock() {
                let request = self.take(youngest);
                // A caller that has gone needs no result.
                let _ = request.result.send(Err(MemoryError::Contended));
            } else {
                return;
            }
        }
    }

    fn grant(&mut self, index: usize, held: u64) {
        let request = self.take(index);
        let (account, bytes) = (request.account, request.bytes);
        if let Some(account) = self.accounts.get_mut(&account) {
            account.needed += bytes;
            account.held += held;
            self.free -= held;
        }
        // The request is withdrawn before its receiver is dropped.
        let _ = request.result.send(Ok(()));
    }

    /// Returns the number of bytes that a request lacks. One that fills the budget counts fewer copies.
    fn missing(&self, request: &Request) -> u64 {
        let needed = self.needed(request.account) + request.bytes;
        let limit = self.size - self.beside(request.original).min(self.size);
        let held = needed.saturating_mul(self.copies).min(limit).max(needed);
        held.saturating_sub(self.held(request.account))
    }

    /// Returns the request that is granted next.
    fn first(&self) -> Option<usize> {
        let growing = self.growing().min_by_key(|(_, age)| *age);
        let first = (!self.requests.is_empty()).then_some(0);
        growing.map(|(index, _)| index).or(first)
    }

    /// Returns the requests of accounts that hold memory, each with its age.
    fn growing(&self) -> impl Iterator<Item = (usize, u64)> {
        let requests = self.requests.iter().enumerate();
        requests.filter_map(|(index, request)| {
            let holders = [Some(request.account), request.original];
            let holders = holders.into_iter().flatten();
            let age = holders.filter(|account| self.held(*account) > 0).min()?;
            Some((index, age))
        })
    }

    /// Returns the request to refuse if every account that holds memory waits for more.
    fn youngest_of_a_deadlock(&self) -> Option<usize> {
        let mut holders = self.accounts.values().filter(|account| account.held > 0);
        if !holders.all(|account| account.n_requests > 0) {
            return None;
        }
        let youngest = self.growing().max_by_key(|(_, age)| *age);
        youngest.map(|(index, _)| index)
    }

    fn take(&mut self, index: usize) -> Request {
        let request = self.requests.remove(index);
        self.count_requests(request.account, request.original, |n| n - 1);
        request
    }

    fn count_requests(&mut self, account: u64, original: Option<u64>, count: fn(usize) -> usize) {
        for account in [Some(account), original].into_iter().flatten() {
            if let Some(account) = self.accounts.get_mut(&account) {
                account.n_requests = count(account.n_requests);
            }
        }
    }

    fn needed(&self, account: u64) -> u64 {
        self.accounts
            .get(&account)
            .map_or(0, |account| account.needed)
    }

    fn beside(&self, original: Option<u64>) -> u64 {
        original.map_or(0, |original| self.held(original))
    }
}
