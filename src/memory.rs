//! Allocations that may be refused.

use crate::{IntentError, Result};

/// An empty vector with room for `count` values, which are for `what`.
///
/// # Errors
/// `out_of_memory`.
pub(crate) fn room<T>(count: usize, what: &str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    match values.try_reserve_exact(count) {
        Ok(()) => Ok(values),
        Err(_) => {
            let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
            Err(IntentError::OutOfMemory { what: what.to_owned(), bytes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_had_is_an_error() {
        assert!(room::<f32>(7, "seven").is_ok_and(|values| values.is_empty() && values.capacity() >= 7));
        let error = room::<f32>(usize::MAX / 8, "the adapter").map_err(|error| error.to_string());
        assert!(error.is_err_and(|message| message.contains("for the adapter")));
    }
}
