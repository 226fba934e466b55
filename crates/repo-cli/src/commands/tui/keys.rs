//! The keys: what each does on which screen. What is shown at the foot is made from the same lists, so
//! that no key works that is not shown.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Move(Move),
    Open,
    Back,
    Select,
    Versions,
    Restore,
    Stop,
    Quit,
}

/// Where a cursor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

/// Keys with one effect.
pub(super) struct Binding {
    codes: &'static [KeyCode],
    /// Effects of the same name are shown together.
    name: &'static str,
    action: Action,
}

const fn binding(codes: &'static [KeyCode], name: &'static str, action: Action) -> Binding {
    Binding {
        codes,
        name,
        action,
    }
}

const fn moves(name: &'static str) -> [Binding; 6] {
    [
        binding(
            &[KeyCode::Up, KeyCode::Char('k')],
            name,
            Action::Move(Move::Up),
        ),
        binding(
            &[KeyCode::Down, KeyCode::Char('j')],
            name,
            Action::Move(Move::Down),
        ),
        binding(&[KeyCode::PageUp], name, Action::Move(Move::PageUp)),
        binding(&[KeyCode::PageDown], name, Action::Move(Move::PageDown)),
        binding(&[KeyCode::Home], name, Action::Move(Move::First)),
        binding(&[KeyCode::End], name, Action::Move(Move::Last)),
    ]
}

const MOVE: [Binding; 6] = moves("move");
const SCROLL: [Binding; 6] = moves("scroll");
const OPEN: Binding = binding(&[KeyCode::Enter, KeyCode::Right], "open", Action::Open);
const PREVIEW: Binding = binding(&[KeyCode::Enter, KeyCode::Right], "preview", Action::Open);
const BACK: Binding = binding(
    &[KeyCode::Esc, KeyCode::Left, KeyCode::Backspace],
    "back",
    Action::Back,
);
const SELECT: Binding = binding(&[KeyCode::Char(' ')], "select", Action::Select);
const VERSIONS: Binding = binding(&[KeyCode::Char('v')], "versions", Action::Versions);
const RESTORE: Binding = binding(&[KeyCode::Char('r')], "restore", Action::Restore);
const STOP: Binding = binding(&[KeyCode::Esc], "stop", Action::Stop);
const QUIT: Binding = binding(&[KeyCode::Char('q')], "quit", Action::Quit);

/// The keys of a screen: those that move, and the others.
pub(super) type Keys = (&'static [Binding], &'static [Binding]);

pub(super) const SNAPSHOTS: Keys = (&MOVE, &[OPEN, QUIT]);
pub(super) const DIRECTORY: Keys = (&MOVE, &[OPEN, BACK, SELECT, VERSIONS, RESTORE, QUIT]);
pub(super) const FILE_VERSIONS: Keys = (&MOVE, &[PREVIEW, BACK, RESTORE, QUIT]);
pub(super) const FILE: Keys = (&SCROLL, &[BACK, QUIT]);
/// While a restore runs.
pub(super) const BUSY: Keys = (&[], &[STOP]);

/// What works everywhere, as it is shown.
const ALWAYS: &str = "Ctrl-C quit";

/// What can be typed where a path is asked for, as it is shown.
pub(super) const PROMPT: &[&str] = &[
    "type a path",
    "Backspace delete",
    "Enter restore",
    "Esc back",
    ALWAYS,
];

/// Whether a key ends the program wherever it is pressed.
pub(super) fn ends(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c')
}

/// What a key does on a screen with these keys.
pub(super) fn action(keys: Keys, code: KeyCode) -> Option<Action> {
    let mut all = keys.0.iter().chain(keys.1);
    let found = all.find(|binding| binding.codes.contains(&code));
    found.map(|binding| binding.action)
}

/// The keys of a screen in words, one text an effect.
pub(super) fn shown(keys: Keys) -> Vec<String> {
    let mut texts: Vec<(&str, String)> = Vec::new();
    for binding in keys.0.iter().chain(keys.1) {
        let codes: Vec<String> = binding.codes.iter().map(|code| name(*code)).collect();
        let codes = codes.join("/");
        match texts.last_mut() {
            Some((name, text)) if *name == binding.name => {
                text.push(' ');
                text.push_str(&codes);
            }
            _ => texts.push((binding.name, codes)),
        }
    }
    let texts = texts
        .into_iter()
        .map(|(name, keys)| format!("{keys} {name}"));
    texts.chain([ALWAYS.to_owned()]).collect()
}

fn name(code: KeyCode) -> String {
    match code {
        KeyCode::Char(' ') => "Space".to_owned(),
        KeyCode::PageUp => "PgUp".to_owned(),
        KeyCode::PageDown => "PgDn".to_owned(),
        KeyCode::Char(c) => c.to_string(),
        other => format!("{other:?}"),
    }
}

/// Texts in as few lines of a width as hold them; one that is wider has a line of its own.
pub(super) fn folded<T: AsRef<str>>(texts: &[T], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for text in texts.iter().map(AsRef::as_ref) {
        match lines.last_mut() {
            Some(line) if line.len() + 2 + text.len() <= width => {
                line.push_str("  ");
                line.push_str(text);
            }
            _ => lines.push(text.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_shown_and_has_one_effect() {
        for keys in [SNAPSHOTS, DIRECTORY, FILE_VERSIONS, FILE, BUSY] {
            let text = shown(keys).join("  ");
            let mut seen = Vec::new();
            for binding in keys.0.iter().chain(keys.1) {
                for code in binding.codes {
                    let words = text.split([' ', '/']);
                    assert!(words.into_iter().any(|word| word == name(*code)), "{code}");
                    assert_eq!(action(keys, *code), Some(binding.action));
                    assert!(!seen.contains(code), "{code} does two things");
                    seen.push(*code);
                }
            }
        }
        assert_eq!(action(FILE, KeyCode::Char('r')), None);
        assert_eq!(
            shown(FILE).join("  "),
            "Up/k Down/j PgUp PgDn Home End scroll  Esc/Left/Backspace back  q quit  Ctrl-C quit"
        );
    }

    #[test]
    fn lines_hold_what_fits() {
        let texts = ["aaa b", "cc d", "e f"];
        assert_eq!(folded(&texts, 11), ["aaa b  cc d", "e f"]);
        assert_eq!(folded(&texts, 10), ["aaa b", "cc d  e f"]);
        assert_eq!(folded(&texts, 1), texts);
        assert!(folded::<&str>(&[], 5).is_empty());
    }
}
