//! What the runner tells the owner of an execution: orders that are set once, and a bell.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

const MESSAGES: u8 = 1;
const HAND_BACK: u8 = 2;
const LEAVE: u8 = 4;
const ABANDON: u8 = 8;

/// What an owner is to do. Each order stands until the ownership ends, but for `messages`, which is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// Read the inbox.
    pub(super) messages: bool,
    /// Begin nothing new; give the execution back once nothing is under way.
    pub(super) hand_back: bool,
    /// Stop the attempts that another instance may begin anew.
    pub(super) leave: bool,
    /// Go without a word.
    pub(super) abandon: bool,
}

/// The letter box of one owner.
#[derive(Debug, Default)]
pub(super) struct Mail {
    orders: AtomicU8,
    bell: Notify,
}

impl Mail {
    pub(super) fn orders(&self) -> Orders {
        let bits = self.orders.load(Ordering::Acquire);
        Orders { messages: bits & MESSAGES != 0, hand_back: bits & HAND_BACK != 0, leave: bits & LEAVE != 0, abandon: bits & ABANDON != 0 }
    }

    pub(super) fn messages(&self) {
        self.give(MESSAGES);
    }

    pub(super) fn hand_back(&self) {
        self.give(HAND_BACK);
    }

    pub(super) fn leave(&self) {
        self.give(HAND_BACK | LEAVE);
    }

    pub(super) fn abandon(&self) {
        self.give(HAND_BACK | LEAVE | ABANDON);
    }

    /// The order to read the inbox is carried out.
    pub(super) fn take_messages(&self) {
        self.orders.fetch_and(!MESSAGES, Ordering::AcqRel);
    }

    /// Waits for the next order. One given before the call and after the last one is not missed.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Waits until the orders are such.
    pub(super) async fn wait_for(&self, such: impl Fn(Orders) -> bool) {
        while !such(self.orders()) {
            self.bell.notified().await;
        }
    }

    fn give(&self, bits: u8) {
        self.orders.fetch_or(bits, Ordering::AcqRel);
        self.bell.notify_one();
    }
}
