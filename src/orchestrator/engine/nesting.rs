//! How deep values may nest. A record is read again with a limit of 128 levels: what nests deeper could be written and never be read.

use serde_json::Value;

use super::execution::Object;

/// Levels of lists and objects within each other that a value from outside may have. Half of what can be read, so that a context or a trigger it is put into
/// can.
pub const DEEPEST: usize = 64;

/// The value nests deeper than [`DEEPEST`].
pub fn is_too_deep(value: &Value) -> bool {
    is_deeper(value, DEEPEST)
}

/// The object nests deeper than [`DEEPEST`], itself being the first level.
pub fn is_object_too_deep(object: &Object) -> bool {
    object.values().any(|value| is_deeper(value, DEEPEST - 1))
}

fn is_deeper(value: &Value, left: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        Value::Array(items) => left == 0 || items.iter().any(|item| is_deeper(item, left - 1)),
        Value::Object(object) => left == 0 || object.values().any(|value| is_deeper(value, left - 1)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |value, level| if level % 2 == 0 { json!([value]) } else { json!({ "a": value }) })
    }

    #[test]
    fn the_deepest_that_may_be_is_that_deep() {
        assert!(!is_too_deep(&nested(DEEPEST)) && is_too_deep(&nested(DEEPEST + 1)));
        let object = |levels| Object::from_iter([("k".to_owned(), nested(levels))]);
        assert!(!is_object_too_deep(&object(DEEPEST - 1)) && is_object_too_deep(&object(DEEPEST)));
    }
}
