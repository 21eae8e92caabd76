//! Carts and orders: each method is one business operation, written the way applications write.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use mongodb::ClientSession;
use mongodb::options::{ReturnDocument, UpdateModifications};

use crate::chance::Chance;
use crate::deed::{Deed, Fact};
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
        let opened = Deed::CartOpened.of(id, doc! {"cartId": id, "customer": customer});
        self.insert("carts", cart, opened).await?;
        Ok(id)
    }

    /// `$push`: the change holds only the new element.
    pub async fn add_to_cart(&self, cart: ObjectId, line: &Line) -> Result<()> {
        let mut data = doc! {"cartId": cart};
        data.extend(line.document());
        self.change_cart(cart, doc! {"$push": {"items": line.document()}}, Deed::ItemAddedToCart, data).await
    }

    /// `$set` on an element.
    pub async fn set_quantity(&self, cart: ObjectId, index: usize, line: &Line, quantity: i32) -> Result<()> {
        let raise = doc! {"$set": {format!("items.{index}.qty"): quantity}};
        let data = doc! {"cartId": cart, "sku": &line.sku, "from": line.quantity, "to": quantity};
        self.change_cart(cart, raise, Deed::ItemQuantityRaised, data).await
    }

    /// `$pull`: the change holds the whole array.
    pub async fn remove_from_cart(&self, cart: ObjectId, line: &Line) -> Result<()> {
        let data = doc! {"cartId": cart, "sku": &line.sku, "qty": line.quantity};
        let pull = doc! {"$pull": {"items": {"sku": &line.sku}}};
        self.change_cart(cart, pull, Deed::ItemRemovedFromCart, data).await
    }

    pub async fn apply_coupon(&self, cart: ObjectId) -> Result<()> {
        let data = doc! {"cartId": cart, "coupon": "SPRING"};
        self.change_cart(cart, doc! {"$set": {"coupon": "SPRING"}}, Deed::CouponApplied, data).await
    }

    pub async fn remove_coupon(&self, cart: ObjectId) -> Result<()> {
        let data = doc! {"cartId": cart, "coupon": "SPRING"};
        self.change_cart(cart, doc! {"$unset": {"coupon": ""}}, Deed::CouponRemoved, data).await
    }

    async fn change_cart(&self, cart: ObjectId, update: Document, deed: Deed, data: Document) -> Result<()> {
        self.update("carts", doc! {"_id": cart}, update, |_| Some(deed.of(cart, data.clone()))).await
    }

    /// The customer empties the cart and leaves.
    pub async fn abandon_cart(&self, cart: ObjectId) -> Result<()> {
        self.delete("carts", cart, |before| gone_cart(Deed::CartAbandoned, before)).await
    }

    /// The shop gives up a cart that nobody has touched for long. In the database that is the same as when the customer does.
    pub async fn expire_cart(&self, cart: ObjectId) -> Result<()> {
        self.delete("carts", cart, |before| gone_cart(Deed::CartExpired, before)).await
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
        let mut checkout = Checkout::Placed;
        self.perform(async |session| match self.check_out_within(session, cart, &document, lines).await? {
            Ok(facts) => {
                checkout = Checkout::Placed;
                Ok(facts)
            }
            Err(sku) => {
                checkout = Checkout::TooLittle(sku);
                Ok(Vec::new())
            }
        })
        .await?;
        Ok(checkout)
    }

    /// What has happened once it is committed, or the product of which there is too little.
    async fn check_out_within(
        &self,
        session: &mut ClientSession,
        cart: ObjectId,
        order: &Document,
        lines: &[Line],
    ) -> Result<std::result::Result<Vec<Fact>, String>> {
        let mut facts = checkout_facts(cart, order, lines);
        for line in lines {
            match self.take(session, line).await? {
                Some(of_stock) => facts.extend(of_stock),
                None => {
                    session.abort_transaction().await?;
                    return Ok(Err(line.sku.clone()));
                }
            }
        }
        self.collection("orders").insert_one(order).session(&mut *session).await?;
        let close = doc! {"$set": {"status": "checked_out"}};
        self.collection("carts").update_one(doc! {"_id": cart}, close).session(&mut *session).await?;
        Ok(Ok(facts))
    }

    pub async fn pay(&self, order: i64) -> Result<()> {
        let set = doc! {"$set": {"status": "paid", "paidAt": DateTime::now()}};
        self.move_order(order, "pending", set, Deed::OrderPaid, &["total", "paidAt"]).await
    }

    /// Half of the clients send the whole address, half only the field that changed.
    pub async fn change_address(&self, order: i64, chance: &mut Chance) -> Result<()> {
        let address = address(chance);
        let is_whole = chance.happens(50);
        let set = match is_whole {
            true => doc! {"$set": {"address": &address}},
            false => doc! {"$set": {"address.street": address.get("street")}},
        };
        self.update("orders", doc! {"_id": order}, set, |before| {
            let from = before.get_document("address").ok()?;
            let mut to = if is_whole { address.clone() } else { from.clone() };
            to.insert("street", address.get("street"));
            Some(Deed::DeliveryAddressChanged.of(order, doc! {"orderId": order, "from": from, "to": to}))
        })
        .await
    }

    /// The warehouse reads the order, changes it and saves it whole, as object mappers do.
    pub async fn ship(&self, order: i64) -> Result<()> {
        let filter = doc! {"_id": order, "status": "paid"};
        let at = DateTime::now();
        self.perform(async |session| {
            let orders = self.collection("orders");
            let Some(mut document) = orders.find_one(filter.clone()).session(&mut *session).await? else {
                return Ok(Vec::new());
            };
            document.insert("status", "shipped");
            document.insert("shippedAt", at);
            document.insert("tracking", format!("TR-{order}"));
            orders.replace_one(filter.clone(), &document).session(session).await?;
            Ok(vec![of_order(Deed::OrderShipped, &document, &["tracking", "shippedAt"])])
        })
        .await
    }

    /// An update with an aggregation pipeline.
    pub async fn deliver(&self, order: i64) -> Result<()> {
        let pipeline = vec![doc! {"$set": {"status": "delivered", "deliveredAt": "$$NOW"}}];
        self.move_order(order, "shipped", pipeline, Deed::OrderDelivered, &["deliveredAt"]).await
    }

    pub async fn refund(&self, order: i64) -> Result<()> {
        let set = doc! {"$set": {"status": "refunded", "refundedAt": DateTime::now()}};
        self.move_order(order, "delivered", set, Deed::OrderRefunded, &["total", "refundedAt"]).await
    }

    /// Cancels an order that is not paid and gives the goods back: all or nothing. Who took the call is told, and not saved in the
    /// order.
    pub async fn cancel(&self, order: i64, lines: &[Line], agent: &str) -> Result<()> {
        let filter = doc! {"_id": order, "status": "pending"};
        let set = doc! {"$set": {"status": "cancelled", "cancelledAt": DateTime::now(), "cancelReason": "customer"}};
        self.perform(async |session| {
            let orders = self.collection("orders");
            let before = orders.find_one_and_update(filter.clone(), set.clone()).session(&mut *session).await?;
            let Some(before) = before else { return Ok(Vec::new()) };
            let mut cancelled = doc! {"orderId": order, "customer": before.get("customer")};
            cancelled.extend(doc! {"was": before.get("status"), "reason": "customer", "agent": agent});
            let mut facts = vec![Deed::OrderCancelled.of(order, cancelled)];
            for line in lines {
                let give_back = doc! {"$inc": {"available": line.quantity}};
                let stock = self.collection("stock");
                let before =
                    stock.find_one_and_update(doc! {"_id": &line.sku}, give_back).session(&mut *session).await?;
                let from = before.and_then(|before| before.get_i32("available").ok()).unwrap_or(0);
                let data = doc! {"sku": &line.sku, "from": from, "to": from + line.quantity};
                facts.push(Deed::StockReturned.of(&line.sku, data));
            }
            Ok(facts)
        })
        .await
    }

    /// Moves an order on from a status, and tells of it with some of its fields.
    async fn move_order(
        &self,
        order: i64,
        from: &str,
        update: impl Into<UpdateModifications>,
        deed: Deed,
        fields: &[&str],
    ) -> Result<()> {
        let (filter, update) = (doc! {"_id": order, "status": from}, update.into());
        self.perform(async |session| {
            let orders = self.collection("orders");
            let moved = orders.find_one_and_update(filter.clone(), update.clone());
            let after = moved.return_document(ReturnDocument::After).session(session).await?;
            Ok(after.iter().map(|after| of_order(deed, after, fields)).collect())
        })
        .await
    }
}

fn checkout_facts(cart: ObjectId, order: &Document, lines: &[Line]) -> Vec<Fact> {
    let (id, customer) = (order.get("_id"), order.get("customer"));
    let (items, total) = (order.get("items"), order.get("total"));
    let skus: Vec<&str> = lines.iter().map(|line| line.sku.as_str()).collect();
    let placed =
        doc! {"orderId": id, "customer": customer, "items": items, "total": total, "placedAt": order.get("placedAt")};
    let checked_out = doc! {"cartId": cart, "customer": customer, "items": items};
    let completed = doc! {"orderId": id, "cartId": cart, "customer": customer, "total": total, "skus": skus};
    vec![
        Deed::OrderPlaced.of(id.cloned(), placed),
        Deed::CartCheckedOut.of(cart, checked_out),
        Deed::CheckoutCompleted.of(id.cloned(), completed),
    ]
}

fn gone_cart(deed: Deed, before: &Document) -> Fact {
    let id = before.get("_id");
    deed.of(id.cloned(), doc! {"cartId": id, "customer": before.get("customer"), "items": before.get("items")})
}

fn of_order(deed: Deed, order: &Document, fields: &[&str]) -> Fact {
    let id = order.get("_id");
    let mut data = doc! {"orderId": id, "customer": order.get("customer")};
    data.extend(fields.iter().filter_map(|field| Some(((*field).to_owned(), order.get(*field)?.clone()))));
    deed.of(id.cloned(), data)
}
