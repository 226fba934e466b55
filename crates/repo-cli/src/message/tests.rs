use serde_json::{Value, json};

use super::*;

fn value(message: &impl Serialize) -> Value {
    serde_json::to_value(message).expect("JSON")
}

#[test]
fn paths_that_are_not_text_are_also_given_exactly() {
    assert_eq!(value(&PathFields::new(b"a/b")), json!({"path": "a/b"}));
    assert_eq!(
        value(&PathFields::new(b"a\xff\n")),
        json!({"path": "a\u{fffd}\n", "path_hex": "61ff0a"})
    );
}

#[test]
fn findings_have_a_path_only_when_they_concern_one() {
    let finding = |path: Option<&[u8]>| Finding {
        severity: Severity::Warning,
        path: path.map(<[u8]>::to_vec),
        message: "vanished".to_owned(),
    };
    let with = finding(Some(b"/a\n"));
    let message = FindingMessage::from(&with);
    assert_eq!(message.to_string(), "warning: /a\\n: vanished");
    assert_eq!(
        value(&message),
        json!({
            "message_type": "finding",
            "severity": "warning",
            "path": "/a\n",
            "message": "vanished",
        })
    );
    let without = finding(None);
    let message = FindingMessage::from(&without);
    assert_eq!(message.to_string(), "warning: vanished");
    assert_eq!(value(&message).get("path"), None);
}

#[test]
fn errors_have_a_code_and_maybe_a_hint() {
    let message = ErrorMessage {
        code: 10,
        message: "no repository",
        hint: None,
    };
    assert_eq!(
        value(&message),
        json!({"message_type": "error", "code": 10, "message": "no repository"})
    );
}
