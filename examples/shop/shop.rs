//! The shop: an ordinary application on MongoDB. In the transaction of each operation it also writes down, in an outbox, what it did;
//! the rules know nothing of that.
//!
//! | collection | a document |
//! |---|---|
//! | customers | `{_id: "customer-7", name, email, tier: bronze / silver / gold, points}` |
//! | products | `{_id: "tea-3", name, active, price: {amount: Decimal128, currency}}` |
//! | stock | `{_id: "tea-3", available, deliveries, lastDeliveryAt}` |
//! | carts | `{_id: ObjectId, customer, status: open / checked_out, items: [{sku, qty, price}], coupon}` |
//! | orders | `{_id: 1001, customer, status: pending / paid / shipped / delivered / cancelled / refunded, items, total, address: {street, city}, placedAt, paidAt, shippedAt, tracking, deliveredAt, cancelledAt, cancelReason, refundedAt}` |
//! | outbox | `{_id: ObjectId, aggregatetype: "order", aggregateid: 1001, type: "OrderPaid", payload: {orderId, ...}}` |

use bson::{Bson, DateTime, Decimal128, Document, doc};
use mongodb::options::{ReturnDocument, UpdateModifications};
use mongodb::{Client, ClientSession, Collection};

use crate::chance::Chance;
use crate::deed::{Deed, Fact, Tally};

/// The database of the shop.
pub const DATABASE: &str = "shop";
/// The collections of the shop's business.
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

    /// Does a business operation: what it writes, and in the outbox the facts that it gives, in one transaction. They count once
    /// that is committed.
    pub(crate) async fn perform(
        &self,
        mut operation: impl AsyncFnMut(&mut ClientSession) -> Result<Vec<Fact>>,
    ) -> Result<()> {
        let mut session = self.client.start_session().await?;
        let facts = session
            .start_transaction()
            .and_run2(async |session| {
                let facts = operation(&mut *session).await?;
                if !facts.is_empty() {
                    let documents = facts.iter().map(Fact::outbox_document);
                    self.collection("outbox").insert_many(documents).session(&mut *session).await?;
                }
                Ok(facts)
            })
            .await?;
        facts.iter().for_each(|fact| self.tally.count(fact.deed));
        Ok(())
    }

    /// Updates a document and tells of it with what it was before. Nothing is told if it is not there.
    pub(crate) async fn update(
        &self,
        collection: &str,
        filter: Document,
        update: impl Into<UpdateModifications>,
        fact: impl Fn(&Document) -> Option<Fact>,
    ) -> Result<()> {
        let update = update.into();
        self.perform(async |session| {
            let collection = self.collection(collection);
            let before = collection.find_one_and_update(filter.clone(), update.clone()).session(session).await?;
            Ok(before.as_ref().and_then(&fact).into_iter().collect())
        })
        .await
    }

    /// Deletes a document and tells of it with what it was.
    pub(crate) async fn delete(
        &self,
        collection: &str,
        id: impl Into<Bson>,
        fact: impl Fn(&Document) -> Fact,
    ) -> Result<()> {
        let filter = doc! {"_id": id.into()};
        self.perform(async |session| {
            let before = self.collection(collection).find_one_and_delete(filter.clone()).session(session).await?;
            Ok(before.as_ref().map(&fact).into_iter().collect())
        })
        .await
    }

    /// Inserts a document and tells of it.
    pub(crate) async fn insert(&self, collection: &str, document: Document, fact: Fact) -> Result<()> {
        self.perform(async |session| {
            self.collection(collection).insert_one(&document).session(session).await?;
            Ok(vec![fact.clone()])
        })
        .await
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
        let (name, price) = (format!("Tea {sku}"), doc! {"amount": money(price_cents), "currency": "EUR"});
        let product = doc! {"_id": sku, "name": &name, "active": true, "price": &price};
        let listed = Deed::ProductListed.of(sku, doc! {"sku": sku, "name": name, "price": price});
        self.perform(async |session| {
            self.collection("stock").insert_one(&stock).session(&mut *session).await?;
            self.collection("products").insert_one(&product).session(session).await?;
            Ok(vec![listed.clone()])
        })
        .await
    }

    pub async fn retire_product(&self, sku: &str) -> Result<()> {
        let filter = doc! {"_id": sku, "active": true};
        self.update("products", filter, doc! {"$set": {"active": false}}, |before| {
            Some(Deed::ProductRetired.of(sku, doc! {"sku": sku, "name": before.get("name")}))
        })
        .await
    }

    /// Sets a price; what that was, in business words, shows only against the price before.
    pub async fn set_price(&self, sku: &str, price_cents: i64) -> Result<()> {
        let update = doc! {"$set": {"price.amount": money(price_cents)}};
        self.update("products", doc! {"_id": sku}, update, |before| {
            let deed = match price_cents.cmp(&price_cents_of(before)?) {
                std::cmp::Ordering::Greater => Deed::PriceRaised,
                std::cmp::Ordering::Less => Deed::PriceLowered,
                std::cmp::Ordering::Equal => Deed::PriceReviewed,
            };
            let from = before.get_document("price").ok()?.get("amount");
            Some(deed.of(sku, doc! {"sku": sku, "from": from, "to": money(price_cents), "currency": "EUR"}))
        })
        .await
    }

    pub async fn price_cents(&self, sku: &str) -> Result<i64> {
        let product = self.collection("products").find_one(doc! {"_id": sku}).await?;
        Ok(product.as_ref().and_then(price_cents_of).unwrap_or(999))
    }

    pub async fn register_customer(&self, id: &str) -> Result<()> {
        let (name, email) = (format!("The {id}"), format!("{id}@example.com"));
        let customer = doc! {"_id": id, "name": &name, "email": &email, "tier": "bronze", "points": 0};
        let registered = Deed::CustomerRegistered.of(id, doc! {"customerId": id, "name": name, "email": email});
        self.insert("customers", customer, registered).await
    }

    pub async fn change_email(&self, id: &str, chance: &mut Chance) -> Result<()> {
        let email = format!("{id}+{}@example.com", chance.within(0..u64::from(u32::MAX)));
        self.update("customers", doc! {"_id": id}, doc! {"$set": {"email": &email}}, |before| {
            let data = doc! {"customerId": id, "from": before.get("email"), "to": &email};
            Some(Deed::CustomerEmailChanged.of(id, data))
        })
        .await
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
        let tier_of = |points: i32| match points {
            500.. => "gold",
            150.. => "silver",
            _ => "bronze",
        };
        self.update("customers", doc! {"_id": id}, pipeline, |before| {
            let points_before = before.get_i32("points").unwrap_or(0);
            let points = points_before + points;
            let (from, to) = (tier_of(points_before), tier_of(points));
            let data = doc! {"customerId": id, "from": from, "to": to, "points": points};
            (from != to).then(|| Deed::CustomerPromoted.of(id, data))
        })
        .await
    }

    pub async fn remove_customer(&self, id: &str) -> Result<()> {
        self.delete("customers", id, |before| {
            Deed::CustomerLeft.of(id, doc! {"customerId": id, "name": before.get("name")})
        })
        .await
    }

    /// A delivery of goods.
    pub async fn replenish(&self, sku: &str) -> Result<()> {
        let at = DateTime::now();
        let update = doc! {
            "$inc": {"available": STOCK_AT_START, "deliveries": 1},
            "$set": {"lastDeliveryAt": at},
        };
        self.update("stock", doc! {"_id": sku}, update, |before| {
            let from = before.get_i32("available").unwrap_or(0);
            let data = doc! {"sku": sku, "from": from, "to": from + STOCK_AT_START, "deliveredAt": at};
            Some(Deed::StockReplenished.of(sku, data))
        })
        .await
    }

    /// Takes goods out of stock inside a transaction. `None` if there are not enough, else what that means for the stock.
    pub(crate) async fn take(&self, session: &mut ClientSession, line: &Line) -> Result<Option<Vec<Fact>>> {
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
            let mut facts = Vec::new();
            if now < LOW_STOCK && now + line.quantity >= LOW_STOCK {
                facts.push(Deed::StockRanLow.of(&line.sku, doc! {"sku": &line.sku, "available": now}));
            }
            if now == 0 {
                facts.push(Deed::StockSoldOut.of(&line.sku, doc! {"sku": &line.sku}));
            }
            facts
        }))
    }
}

fn price_cents_of(product: &Document) -> Option<i64> {
    let amount = product.get_document("price").ok()?.get("amount")?.to_string();
    let digits: String = amount.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}
