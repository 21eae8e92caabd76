//! Pauses between attempts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::settings::RetrySettings;

/// Pauses that grow with every failure in a row, with jitter, so that many connectors do not knock at once.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: RetrySettings,
    pauses: ExponentialBackoff,
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(settings: &RetrySettings) -> Self {
        Self { settings: settings.clone(), pauses: pauses(settings), attempts: 0 }
    }

    /// The pause after one more failure.
    pub(super) fn next_pause(&mut self) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        // Jitter may double a pause; the longest stays the longest.
        self.pauses.next().unwrap_or(self.settings.max.0).min(self.settings.max.0)
    }

    /// Waits for the pause after one more failure.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }

    /// Failures in a row.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Begins anew after a success.
    pub(super) fn reset(&mut self) {
        if self.attempts > 0 {
            self.attempts = 0;
            self.pauses = pauses(&self.settings);
        }
    }
}

fn pauses(settings: &RetrySettings) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_factor(settings.factor.max(1.0))
        .with_min_delay(settings.initial.0)
        .with_max_delay(settings.max.0)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew_after_a_success() {
        let settings = RetrySettings::default();
        let mut backoff = Backoff::new(&settings);
        assert!(backoff.next_pause() <= settings.initial.0 * 2);
        for _ in 0..40 {
            backoff.next_pause();
        }
        assert_eq!(backoff.next_pause(), settings.max.0);
        assert_eq!(backoff.attempts(), 42);
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        assert!(backoff.next_pause() <= settings.initial.0 * 2);
    }
}
