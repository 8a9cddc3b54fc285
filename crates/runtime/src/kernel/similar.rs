//! Patterns of `SIMILAR TO`, which become regular expressions of Java's as Calcite makes them, its oddities included.

/// A pattern of `SIMILAR TO`, as Calcite makes a regular expression of it: the point is any letter there, too.
///
/// # Errors
/// What Calcite refuses.
pub(super) fn of_similar(pattern: &str, escape: Option<char>) -> Result<String, String> {
    let wrong = || format!("'{pattern}' is no pattern of SIMILAR TO");
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            match chars.next() {
                Some(next) if SPECIAL.contains(next) || Some(next) == escape => {
                    out.push('\\');
                    out.push(next);
                }
                _ => return Err(wrong()),
            }
            continue;
        }
        match c {
            '_' if !in_class => out.push('.'),
            '%' if !in_class => out.push_str("(?:.|\\n)*"),
            '[' if in_class => {
                let rest: String = chars.clone().collect();
                let named = CLASSES
                    .iter()
                    .find(|(name, _)| rest.to_ascii_uppercase().starts_with(name));
                let Some((name, class)) = named else {
                    return Err(wrong());
                };
                out.push_str(class);
                (0..name.chars().count()).for_each(|_| {
                    chars.next();
                });
            }
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '\\' => out.push_str("\\\\"),
            c if in_class && !matches!(c, '-') && !c.is_alphanumeric() => {
                out.push('\\');
                out.push(c);
            }
            '$' => out.push_str("\\$"),
            c => out.push(c),
        }
    }
    if in_class {
        return Err(wrong());
    }
    Ok(out)
}

const SPECIAL: &str = "_%|*+?{}()[]^-:\\.$";

const CLASSES: &[(&str, &str)] = &[
    (":ALPHA:]", r"\p{Alpha}"),
    (":UPPER:]", r"\p{Upper}"),
    (":LOWER:]", r"\p{Lower}"),
    (":DIGIT:]", r"\d"),
    (":SPACE:]", " "),
    (":WHITESPACE:]", r"\s"),
    (":ALNUM:]", r"\p{Alnum}"),
];
