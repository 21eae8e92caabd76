//! The life of one order, from the cart to the customer's door, as chance has it.

use bson::oid::ObjectId;

use crate::chance::Chance;
use crate::orders::Checkout;
use crate::shop::{CUSTOMER_COUNT, Line, PRODUCT_COUNT, Result, Shop};

const FIRST_ORDER: i64 = 1001;
/// Who answers the telephone.
const AGENTS: [&str; 3] = ["ada", "bea", "carl"];

/// Plays the life of the order with this number, from 0.
pub async fn live(shop: &Shop, seed: u64, number: u64) -> Result<()> {
    let mut chance = Chance::of_order(seed, number);
    around_the_shop(shop, number, &mut chance).await?;
    let newcomer = chance.happens(30);
    let customer = match newcomer {
        true => format!("newcomer-{number}"),
        false => format!("customer-{}", chance.within(0..CUSTOMER_COUNT)),
    };
    if newcomer {
        shop.register_customer(&customer).await?;
    }
    let cart = shop.open_cart(&customer).await?;
    let lines = fill_cart(shop, cart, &mut chance).await?;
    if chance.happens(15) {
        return match chance.happens(40) {
            true => shop.expire_cart(cart).await,
            false => shop.abandon_cart(cart).await,
        };
    }
    let order = FIRST_ORDER + i64::try_from(number).unwrap_or(0);
    while let Checkout::TooLittle(sku) = shop.check_out(cart, order, &customer, &lines, &mut chance).await? {
        shop.replenish(&sku).await?;
    }
    shop.sweep_cart(cart).await?;
    fulfil(shop, order, &customer, &lines, &mut chance).await?;
    if newcomer && chance.happens(20) {
        shop.remove_customer(&customer).await?;
    }
    Ok(())
}

/// What happens in a shop beside orders.
async fn around_the_shop(shop: &Shop, number: u64, chance: &mut Chance) -> Result<()> {
    let sku = format!("tea-{}", chance.within(0..PRODUCT_COUNT));
    if chance.happens(40) {
        let price_cents = shop.price_cents(&sku).await?;
        let new_price_cents = match chance.within(0..3) {
            0 => price_cents + 25,
            1 => (price_cents - 30).max(100),
            _ => price_cents,
        };
        shop.set_price(&sku, new_price_cents).await?;
    }
    if chance.happens(15) {
        let sku = format!("special-{number}");
        shop.list_product(&sku, 1_250).await?;
        shop.retire_product(&sku).await?;
    }
    if chance.happens(20) {
        let customer = format!("customer-{}", chance.within(0..CUSTOMER_COUNT));
        shop.change_email(&customer, chance).await?;
    }
    Ok(())
}

/// Puts one to three different products into the cart, and changes minds.
async fn fill_cart(shop: &Shop, cart: ObjectId, chance: &mut Chance) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    let first = chance.within(0..PRODUCT_COUNT);
    for step in 0..chance.within(1..4) {
        let sku = format!("tea-{}", (first + step) % PRODUCT_COUNT);
        let quantity = i32::try_from(chance.within(1..4)).unwrap_or(1);
        let line = Line { price_cents: shop.price_cents(&sku).await?, sku, quantity };
        shop.add_to_cart(cart, &line).await?;
        lines.push(line);
    }
    if chance.happens(25) {
        shop.set_quantity(cart, 0, &lines[0], lines[0].quantity + 1).await?;
        lines[0].quantity += 1;
    }
    if lines.len() > 1
        && chance.happens(35)
        && let Some(line) = lines.pop()
    {
        shop.remove_from_cart(cart, &line).await?;
    }
    if chance.happens(25) {
        shop.apply_coupon(cart).await?;
        if chance.happens(60) {
            shop.remove_coupon(cart).await?;
        }
    }
    Ok(lines)
}

async fn fulfil(shop: &Shop, order: i64, customer: &str, lines: &[Line], chance: &mut Chance) -> Result<()> {
    if chance.happens(12) {
        let agent: &&str = chance.one_of(&AGENTS);
        return shop.cancel(order, lines, agent).await;
    }
    shop.pay(order).await?;
    if chance.happens(25) {
        shop.change_address(order, chance).await?;
    }
    shop.ship(order).await?;
    shop.deliver(order).await?;
    if chance.happens(20) {
        shop.refund(order).await?;
    } else {
        let cents: i64 = lines.iter().map(|line| line.price_cents * i64::from(line.quantity)).sum();
        shop.reward(customer, i32::try_from(cents / 100).unwrap_or(0)).await?;
    }
    Ok(())
}
