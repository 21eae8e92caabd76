//! What the shop does, in the words of its business, and how often it did it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use bson::{Bson, Document, doc};

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
    CartExpired,
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
    /// The operation that leaves the very same change, after which the event that rules infer is named.
    pub fn looks_like(self) -> Option<Self> {
        match self {
            Self::CartExpired => Some(Self::CartAbandoned),
            _ => None,
        }
    }

    /// Why no event of this name can be inferred from the operation; `None` if each must give exactly one.
    pub fn unseen_because(self) -> Option<&'static str> {
        match self {
            Self::PriceReviewed => Some("the price stayed as it was: MongoDB records no change"),
            Self::CartExpired => Some("leaves the same change as CartAbandoned"),
            _ => None,
        }
    }

    /// True if rules make an event of it, be it the wrong one.
    pub fn leaves_an_event(self) -> bool {
        self.unseen_because().is_none() || self.looks_like().is_some()
    }

    /// What it is about, as the outbox calls it.
    fn aggregate(self) -> &'static str {
        match self {
            Self::CustomerRegistered | Self::CustomerEmailChanged | Self::CustomerPromoted | Self::CustomerLeft => {
                "customer"
            }
            Self::ProductListed
            | Self::ProductRetired
            | Self::PriceRaised
            | Self::PriceLowered
            | Self::PriceReviewed => "product",
            Self::StockReplenished | Self::StockReturned | Self::StockRanLow | Self::StockSoldOut => "stock",
            Self::CartOpened
            | Self::ItemAddedToCart
            | Self::ItemQuantityRaised
            | Self::ItemRemovedFromCart
            | Self::CouponApplied
            | Self::CouponRemoved
            | Self::CartAbandoned
            | Self::CartExpired
            | Self::CartCheckedOut => "cart",
            Self::CheckoutCompleted
            | Self::OrderPlaced
            | Self::OrderPaid
            | Self::DeliveryAddressChanged
            | Self::OrderShipped
            | Self::OrderDelivered
            | Self::OrderCancelled
            | Self::OrderRefunded => "order",
        }
    }

    /// That this was done to what has this key, with what there is to say about it.
    pub fn of(self, key: impl Into<Bson>, data: Document) -> Fact {
        Fact { deed: self, key: key.into(), data }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// A business operation that was done: an event in the application's own words.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What was done.
    pub deed: Deed,
    key: Bson,
    data: Document,
}

impl Fact {
    /// How it stands in the outbox: in the layout that Debezium's outbox event router reads.
    pub fn outbox_document(&self) -> Document {
        doc! {
            "aggregatetype": self.deed.aggregate(), "aggregateid": &self.key, "type": self.deed.to_string(),
            "payload": &self.data,
        }
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
