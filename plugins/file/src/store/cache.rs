//! A cache of decrypted values.

use std::collections::{HashMap, HashSet, VecDeque};

use keyway_secrets::SecretValue;

/// Limit on the sum of all cached values, in bytes.
pub(super) const MAX_CACHED: usize = 1024 * 1024;
/// Largest cached value in bytes.
pub(super) const MAX_CACHED_VALUE: usize = 64 * 1024;

/// Values by the name of their file. The content of a name never changes, so an entry is valid while the index lists its
/// file.
#[derive(Default)]
pub(super) struct ValueCache {
    values: HashMap<String, SecretValue>,
    /// Oldest first.
    order: VecDeque<String>,
    /// Sum of the lengths of `values`, at most `MAX_CACHED`.
    bytes: usize,
}

impl ValueCache {
    pub(super) fn get(&self, file: &str) -> Option<SecretValue> {
        self.values.get(file).cloned()
    }

    /// Adds a value and evicts the oldest ones beyond the limit.
    pub(super) fn insert(&mut self, file: &str, value: &SecretValue) {
        if value.len() > MAX_CACHED_VALUE || self.values.contains_key(file) {
            return;
        }
        while self.bytes + value.len() > MAX_CACHED {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.remove(&oldest);
        }
        self.bytes += value.len();
        self.order.push_back(file.to_owned());
        self.values.insert(file.to_owned(), value.clone());
    }

    /// Removes the values whose files are no longer in use.
    pub(super) fn retain(&mut self, in_use: &HashSet<&str>) {
        let (kept, gone): (VecDeque<_>, Vec<_>) = {
            let mut kept = VecDeque::new();
            let mut gone = Vec::new();
            for file in self.order.drain(..) {
                if in_use.contains(file.as_str()) {
                    kept.push_back(file)
                } else {
                    gone.push(file)
                }
            }
            (kept, gone)
        };
        self.order = kept;
        gone.iter().for_each(|file| self.remove(file));
    }

    fn remove(&mut self, file: &str) {
        if let Some(value) = self.values.remove(file) {
            self.bytes -= value.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(len: usize) -> SecretValue {
        SecretValue::new(vec![7; len])
    }

    #[test]
    fn the_oldest_value_is_evicted() {
        let mut cache = ValueCache::default();
        let count = MAX_CACHED / MAX_CACHED_VALUE;
        for n in 0..=count {
            cache.insert(&format!("f{n}"), &value(MAX_CACHED_VALUE));
        }
        assert!(cache.get("f0").is_none());
        assert!((1..=count).all(|n| cache.get(&format!("f{n}")).is_some()));
        assert_eq!(cache.bytes, MAX_CACHED);
        assert_eq!(cache.order.len(), cache.values.len());
    }

    #[test]
    fn large_values_are_not_cached() {
        let mut cache = ValueCache::default();
        cache.insert("large", &value(MAX_CACHED_VALUE + 1));
        assert!(cache.get("large").is_none());
    }

    #[test]
    fn values_that_left_the_index_are_removed() {
        let mut cache = ValueCache::default();
        cache.insert("a", &value(10));
        cache.insert("b", &value(20));
        cache.retain(&HashSet::from(["b"]));
        assert!(cache.get("a").is_none() && cache.get("b").is_some());
        assert_eq!((cache.bytes, cache.order.len()), (20, 1));
    }
}
