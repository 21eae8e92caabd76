//! Carts and orders: each method is one business operation, written the way applications write.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use mongodb::ClientSession;

use crate::chance::Chance;
use crate::deed::Deed;
use crate::shop::{Line, Result, Shop, address, money};

/// What became of a checkout.
pub enum Checkout {
    /// The order was placed.
    Placed,
    /// There was too little of this product; nothing was written.
    TooLittle(String),
}

impl Shop {
    pub async fn open_cart(&self, customer: &str) -> Result<ObjectId> {
        let id = ObjectId::new();
        let cart = doc! {"_id": id, "customer": customer, "status": "open", "items": []};
        self.collection("carts").insert_one(cart).await?;
        self.tally.count(Deed::CartOpened);
        Ok(id)
    }

    /// `$push`: the change holds only the new element.
    pub async fn add_to_cart(&self, cart: ObjectId, line: &Line) -> Result<()> {
        self.change_cart(cart, doc! {"$push": {"items": line.document()}}, Deed::ItemAddedToCart).await
    }

    /// `$set` on an element.
    pub async fn set_quantity(&self, cart: ObjectId, index: usize, quantity: i32) -> Result<()> {
        let raise = doc! {"$set": {format!("items.{index}.qty"): quantity}};
        self.change_cart(cart, raise, Deed::ItemQuantityRaised).await
    }

    /// `$pull`: the change holds the whole array.
    pub async fn remove_from_cart(&self, cart: ObjectId, sku: &str) -> Result<()> {
        self.change_cart(cart, doc! {"$pull": {"items": {"sku": sku}}}, Deed::ItemRemovedFromCart).await
    }

    async fn change_cart(&self, cart: ObjectId, update: Document, deed: Deed) -> Result<()> {
        if self.collection("carts").update_one(doc! {"_id": cart}, update).await?.modified_count == 1 {
            self.tally.count(deed);
        }
        Ok(())
    }

    pub async fn apply_coupon(&self, cart: ObjectId) -> Result<()> {
        self.collection("carts").update_one(doc! {"_id": cart}, doc! {"$set": {"coupon": "SPRING"}}).await?;
        self.tally.count(Deed::CouponApplied);
        Ok(())
    }

    pub async fn remove_coupon(&self, cart: ObjectId) -> Result<()> {
        self.collection("carts").update_one(doc! {"_id": cart}, doc! {"$unset": {"coupon": ""}}).await?;
        self.tally.count(Deed::CouponRemoved);
        Ok(())
    }

    pub async fn abandon_cart(&self, cart: ObjectId) -> Result<()> {
        self.collection("carts").delete_one(doc! {"_id": cart}).await?;
        self.tally.count(Deed::CartAbandoned);
        Ok(())
    }

    /// Removes a cart that has become an order: that is housekeeping, no business operation.
    pub async fn sweep_cart(&self, cart: ObjectId) -> Result<()> {
        self.collection("carts").delete_one(doc! {"_id": cart}).await.map(|_| ())
    }

    /// Places the order, takes the goods and closes the cart: all or nothing.
    pub async fn check_out(
        &self,
        cart: ObjectId,
        order: i64,
        customer: &str,
        lines: &[Line],
        chance: &mut Chance,
    ) -> Result<Checkout> {
        let total = lines.iter().map(|line| line.price_cents * i64::from(line.quantity)).sum();
        let items: Vec<Document> = lines.iter().map(Line::document).collect();
        let document = doc! {
            "_id": order, "customer": customer, "status": "pending", "items": items,
            "total": money(total), "address": address(chance), "placedAt": DateTime::now(),
        };
        let mut session = self.client.start_session().await?;
        let outcome = session
            .start_transaction()
            .and_run2(async |session| self.check_out_within(session, cart, &document, lines).await)
            .await?;
        Ok(match outcome {
            Ok(deeds) => {
                deeds.into_iter().for_each(|deed| self.tally.count(deed));
                Checkout::Placed
            }
            Err(sku) => Checkout::TooLittle(sku),
        })
    }

    /// What is to be counted once it is committed, or the product of which there is too little.
    async fn check_out_within(
        &self,
        session: &mut ClientSession,
        cart: ObjectId,
        order: &Document,
        lines: &[Line],
    ) -> Result<std::result::Result<Vec<Deed>, String>> {
        let mut deeds = vec![Deed::OrderPlaced, Deed::CartCheckedOut, Deed::CheckoutCompleted];
        for line in lines {
            match self.take(session, line).await? {
                Some(of_stock) => deeds.extend(of_stock),
                None => {
                    session.abort_transaction().await?;
                    return Ok(Err(line.sku.clone()));
                }
            }
        }
        self.collection("orders").insert_one(order).session(&mut *session).await?;
        let close = doc! {"$set": {"status": "checked_out"}};
        self.collection("carts").update_one(doc! {"_id": cart}, close).session(&mut *session).await?;
        Ok(Ok(deeds))
    }

    pub async fn pay(&self, order: i64) -> Result<()> {
        let set = doc! {"$set": {"status": "paid", "paidAt": DateTime::now()}};
        self.move_order(order, "pending", set, Deed::OrderPaid).await
    }

    /// Half of the clients send the whole address, half only the field that changed.
    pub async fn change_address(&self, order: i64, chance: &mut Chance) -> Result<()> {
        let address = address(chance);
        let set = match chance.happens(50) {
            true => doc! {"$set": {"address": address}},
            false => doc! {"$set": {"address.street": address.get_str("street").unwrap_or_default()}},
        };
        let changed = self.collection("orders").update_one(doc! {"_id": order}, set).await?;
        if changed.modified_count == 1 {
            self.tally.count(Deed::DeliveryAddressChanged);
        }
        Ok(())
    }

    /// The warehouse reads the order, changes it and saves it whole, as object mappers do.
    pub async fn ship(&self, order: i64) -> Result<()> {
        let filter = doc! {"_id": order, "status": "paid"};
        let Some(mut document) = self.collection("orders").find_one(filter.clone()).await? else { return Ok(()) };
        document.insert("status", "shipped");
        document.insert("shippedAt", DateTime::now());
        document.insert("tracking", format!("TR-{order}"));
        if self.collection("orders").replace_one(filter, document).await?.modified_count == 1 {
            self.tally.count(Deed::OrderShipped);
        }
        Ok(())
    }

    /// An update with an aggregation pipeline.
    pub async fn deliver(&self, order: i64) -> Result<()> {
        let pipeline = vec![doc! {"$set": {"status": "delivered", "deliveredAt": "$$NOW"}}];
        let filter = doc! {"_id": order, "status": "shipped"};
        if self.collection("orders").update_one(filter, pipeline).await?.modified_count == 1 {
            self.tally.count(Deed::OrderDelivered);
        }
        Ok(())
    }

    pub async fn refund(&self, order: i64) -> Result<()> {
        let set = doc! {"$set": {"status": "refunded", "refundedAt": DateTime::now()}};
        self.move_order(order, "delivered", set, Deed::OrderRefunded).await
    }

    /// Cancels an order that is not paid and gives the goods back: all or nothing.
    pub async fn cancel(&self, order: i64, lines: &[Line]) -> Result<()> {
        let filter = doc! {"_id": order, "status": "pending"};
        let set = doc! {"$set": {"status": "cancelled", "cancelledAt": DateTime::now(), "cancelReason": "customer"}};
        let mut session = self.client.start_session().await?;
        session
            .start_transaction()
            .and_run2(async |session| {
                self.collection("orders").update_one(filter.clone(), set.clone()).session(&mut *session).await?;
                for line in lines {
                    let give_back = doc! {"$inc": {"available": line.quantity}};
                    let stock = self.collection("stock");
                    stock.update_one(doc! {"_id": &line.sku}, give_back).session(&mut *session).await?;
                }
                Ok(())
            })
            .await?;
        self.tally.count(Deed::OrderCancelled);
        lines.iter().for_each(|_| self.tally.count(Deed::StockReturned));
        Ok(())
    }

    async fn move_order(&self, order: i64, from: &str, update: Document, deed: Deed) -> Result<()> {
        let filter = doc! {"_id": order, "status": from};
        if self.collection("orders").update_one(filter, update).await?.modified_count == 1 {
            self.tally.count(deed);
        }
        Ok(())
    }
}
