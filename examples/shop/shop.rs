//! The shop: an ordinary application on MongoDB. It knows nothing of events and writes only its own collections.
//!
//! | collection | a document |
//! |---|---|
//! | customers | `{_id: "customer-7", name, email, tier: bronze / silver / gold, points}` |
//! | products | `{_id: "tea-3", name, active, price: {amount: Decimal128, currency}}` |
//! | stock | `{_id: "tea-3", available, deliveries, lastDeliveryAt}` |
//! | carts | `{_id: ObjectId, customer, status: open / checked_out, items: [{sku, qty, price}], coupon}` |
//! | orders | `{_id: 1001, customer, status: pending / paid / shipped / delivered / cancelled / refunded, items, total, address: {street, city}, placedAt, paidAt, shippedAt, tracking, deliveredAt, cancelledAt, cancelReason, refundedAt}` |

use bson::{Bson, DateTime, Decimal128, Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Client, ClientSession, Collection};

use crate::chance::Chance;
use crate::deed::{Deed, Tally};

/// The database of the shop.
pub const DATABASE: &str = "shop";
/// The collections of the shop.
pub const COLLECTIONS: [&str; 5] = ["customers", "products", "stock", "carts", "orders"];
/// The products at the start.
pub const PRODUCT_COUNT: u64 = 12;
/// The customers at the start.
pub const CUSTOMER_COUNT: u64 = 10;
/// Below this many pieces, stock is low.
const LOW_STOCK: i32 = 5;
const STOCK_AT_START: i32 = 25;
const CITIES: [&str; 6] = ["Lyon", "Porto", "Gdansk", "Graz", "Turku", "Ghent"];

/// What went wrong in the shop.
pub type Result<T> = mongodb::error::Result<T>;

/// The shop and its books.
pub struct Shop {
    pub client: Client,
    pub tally: Tally,
}

/// A line of a cart or an order.
#[derive(Clone, Debug)]
pub struct Line {
    pub sku: String,
    pub quantity: i32,
    pub price_cents: i64,
}

impl Line {
    pub fn document(&self) -> Document {
        doc! {"sku": &self.sku, "qty": self.quantity, "price": money(self.price_cents)}
    }
}

/// An amount of money, exact: `1990` cents are the Decimal128 `19.90`.
pub fn money(cents: i64) -> Bson {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    text.parse::<Decimal128>().map_or(Bson::Null, Bson::Decimal128)
}

/// An address that differs from the last one it gave.
pub fn address(chance: &mut Chance) -> Document {
    doc! {"street": format!("{} High Street", chance.within(1..10_000)), "city": *chance.one_of(&CITIES)}
}

impl Shop {
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(DATABASE).collection(name)
    }

    /// Lists the first products and registers the first customers.
    pub async fn open(&self) -> Result<()> {
        for index in 0..PRODUCT_COUNT {
            self.list_product(&format!("tea-{index}"), 300 + 150 * i64::try_from(index).unwrap_or(0)).await?;
        }
        for index in 0..CUSTOMER_COUNT {
            self.register_customer(&format!("customer-{index}")).await?;
        }
        Ok(())
    }

    pub async fn list_product(&self, sku: &str, price_cents: i64) -> Result<()> {
        let stock = doc! {"_id": sku, "available": STOCK_AT_START, "deliveries": 1, "lastDeliveryAt": DateTime::now()};
        self.collection("stock").insert_one(stock).await?;
        let price = doc! {"amount": money(price_cents), "currency": "EUR"};
        let product = doc! {"_id": sku, "name": format!("Tea {sku}"), "active": true, "price": price};
        self.collection("products").insert_one(product).await?;
        self.tally.count(Deed::ProductListed);
        Ok(())
    }

    pub async fn retire_product(&self, sku: &str) -> Result<()> {
        let retired = self
            .collection("products")
            .update_one(doc! {"_id": sku, "active": true}, doc! {"$set": {"active": false}})
            .await?;
        if retired.modified_count == 1 {
            self.tally.count(Deed::ProductRetired);
        }
        Ok(())
    }

    /// Sets a price; what that was, in business words, shows only against the price before.
    pub async fn set_price(&self, sku: &str, price_cents: i64) -> Result<()> {
        let update = doc! {"$set": {"price.amount": money(price_cents)}};
        let before = self.collection("products").find_one_and_update(doc! {"_id": sku}, update).await?;
        let Some(before_cents) = before.as_ref().and_then(price_cents_of) else { return Ok(()) };
        self.tally.count(match price_cents.cmp(&before_cents) {
            std::cmp::Ordering::Greater => Deed::PriceRaised,
            std::cmp::Ordering::Less => Deed::PriceLowered,
            std::cmp::Ordering::Equal => Deed::PriceReviewed,
        });
        Ok(())
    }

    pub async fn price_cents(&self, sku: &str) -> Result<i64> {
        let product = self.collection("products").find_one(doc! {"_id": sku}).await?;
        Ok(product.as_ref().and_then(price_cents_of).unwrap_or(999))
    }

    pub async fn register_customer(&self, id: &str) -> Result<()> {
        let customer = doc! {"_id": id, "name": format!("The {id}"), "email": format!("{id}@example.com"), "tier": "bronze", "points": 0};
        self.collection("customers").insert_one(customer).await?;
        self.tally.count(Deed::CustomerRegistered);
        Ok(())
    }

    pub async fn change_email(&self, id: &str, chance: &mut Chance) -> Result<()> {
        let email = format!("{id}+{}@example.com", chance.within(0..u64::from(u32::MAX)));
        let changed =
            self.collection("customers").update_one(doc! {"_id": id}, doc! {"$set": {"email": email}}).await?;
        if changed.modified_count == 1 {
            self.tally.count(Deed::CustomerEmailChanged);
        }
        Ok(())
    }

    /// Adds points and derives the tier in the same write, with a pipeline.
    pub async fn reward(&self, id: &str, points: i32) -> Result<()> {
        let tier = doc! {"$switch": {
            "branches": [
                {"case": {"$gte": ["$points", 500]}, "then": "gold"},
                {"case": {"$gte": ["$points", 150]}, "then": "silver"},
            ],
            "default": "bronze",
        }};
        let pipeline = vec![doc! {"$set": {"points": {"$add": ["$points", points]}}}, doc! {"$set": {"tier": tier}}];
        let before = self.collection("customers").find_one_and_update(doc! {"_id": id}, pipeline).await?;
        let Some(before) = before else { return Ok(()) };
        let tier_of = |points: i32| match points {
            500.. => "gold",
            150.. => "silver",
            _ => "bronze",
        };
        let points_before = before.get_i32("points").unwrap_or(0);
        if tier_of(points_before) != tier_of(points_before + points) {
            self.tally.count(Deed::CustomerPromoted);
        }
        Ok(())
    }

    pub async fn remove_customer(&self, id: &str) -> Result<()> {
        if self.collection("customers").delete_one(doc! {"_id": id}).await?.deleted_count == 1 {
            self.tally.count(Deed::CustomerLeft);
        }
        Ok(())
    }

    /// A delivery of goods.
    pub async fn replenish(&self, sku: &str) -> Result<()> {
        let update = doc! {
            "$inc": {"available": STOCK_AT_START, "deliveries": 1},
            "$set": {"lastDeliveryAt": DateTime::now()},
        };
        self.collection("stock").update_one(doc! {"_id": sku}, update).await?;
        self.tally.count(Deed::StockReplenished);
        Ok(())
    }

    /// Takes goods out of stock inside a transaction. `None` if there are not enough, else what that means for the stock.
    pub(crate) async fn take(&self, session: &mut ClientSession, line: &Line) -> Result<Option<Vec<Deed>>> {
        let filter = doc! {"_id": &line.sku, "available": {"$gte": line.quantity}};
        let update = doc! {"$inc": {"available": -line.quantity}};
        let after = self
            .collection("stock")
            .find_one_and_update(filter, update)
            .return_document(ReturnDocument::After)
            .session(session)
            .await?;
        Ok(after.map(|after| {
            let now = after.get_i32("available").unwrap_or(0);
            let mut deeds = Vec::new();
            if now < LOW_STOCK && now + line.quantity >= LOW_STOCK {
                deeds.push(Deed::StockRanLow);
            }
            if now == 0 {
                deeds.push(Deed::StockSoldOut);
            }
            deeds
        }))
    }
}

fn price_cents_of(product: &Document) -> Option<i64> {
    let amount = product.get_document("price").ok()?.get("amount")?.to_string();
    let digits: String = amount.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}
