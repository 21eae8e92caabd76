//! What the shop does, in the words of its business, and how often it did it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

/// A business operation. Its name is the name of the event that changeling should infer from the shop's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    CustomerRegistered,
    CustomerEmailChanged,
    CustomerPromoted,
    CustomerLeft,
    ProductListed,
    ProductRetired,
    PriceRaised,
    PriceLowered,
    PriceReviewed,
    StockReplenished,
    StockReturned,
    StockRanLow,
    StockSoldOut,
    CartOpened,
    ItemAddedToCart,
    ItemQuantityRaised,
    ItemRemovedFromCart,
    CouponApplied,
    CouponRemoved,
    CartAbandoned,
    CartCheckedOut,
    CheckoutCompleted,
    OrderPlaced,
    OrderPaid,
    DeliveryAddressChanged,
    OrderShipped,
    OrderDelivered,
    OrderCancelled,
    OrderRefunded,
}

impl Deed {
    /// Why no event can be inferred from this operation; `None` if each must give exactly one.
    pub fn unseen_because(self) -> Option<&'static str> {
        match self {
            Self::PriceReviewed => Some("the price stayed as it was: MongoDB records no change"),
            _ => None,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// How often the shop did what. Only what has been committed counts.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<Deed, u64>>);

impl Tally {
    /// Counts one committed operation.
    pub fn count(&self, deed: Deed) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).entry(deed).or_default() += 1;
    }

    /// The figures so far.
    pub fn figures(&self) -> BTreeMap<Deed, u64> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
