//! What a store's error says to people: which object, what the store calls it, and no secret.
//!
//! A store's answer to a request that it does not trust quotes the request, keys and signature included. So of an answer only the
//! code and the message are taken, and what was configured as a secret is taken out of those.

use object_store::Error;
use std::error::Error as _;
use std::io;

/// The error of an attempt to `action` (as in "cannot read …") an object.
pub(super) fn failed(action: &str, location: &str, error: &Error, secrets: &[String]) -> io::Error {
    let kind = match error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::HostUnreachable,
    };
    let why = why(error);
    let message = match kind {
        // What callers do about it needs no more; a bucket that is not there is another matter.
        io::ErrorKind::NotFound if !why.contains("NoSuchBucket") => {
            format!("{location} is not there")
        }
        _ => format!("cannot {action} {location}: {}", without(why, secrets)),
    };
    io::Error::new(kind, message)
}

/// Whether the same request may succeed a moment later.
pub(super) fn may_pass(error: &Error) -> bool {
    !matches!(
        error,
        Error::NotFound { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
    )
}

/// The store's code and message; without an answer, what became of the request.
fn why(error: &Error) -> String {
    let mut said = error.to_string();
    let mut innermost = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        innermost = error.to_string();
        said = format!("{said}: {innermost}");
        cause = error.source();
    }
    answered(&said).unwrap_or_else(|| match innermost.is_empty() {
        true => first_line(&said),
        false => first_line(&innermost),
    })
}

/// From an answer in XML somewhere in a text.
fn answered(text: &str) -> Option<String> {
    let code = between(text, "<Code>", "</Code>")?;
    let message = between(text, "<Message>", "</Message>").unwrap_or_default();
    Some(format!("the store says {code}: {}", first_line(message)))
}

pub(super) fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    Some(rest.split_once(to)?.0)
}

/// Without an answer that is no XML: a proxy's page, say.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split('<').next().unwrap_or_default();
    line.trim().trim_end_matches(':').to_owned()
}

fn without(text: String, secrets: &[String]) -> String {
    secrets
        .iter()
        .fold(text, |text, secret| text.replace(secret, "…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(why: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: why.to_owned().into(),
        }
    }

    #[test]
    fn an_answer_is_its_code_and_message_and_quotes_no_secret() {
        let body = "Server returned non-2xx status code: 403: <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>no such key AKIA1</Message><AWSAccessKeyId>AKIA1</AWSAccessKeyId><StringToSign>abc</StringToSign></Error>";
        let error = Error::PermissionDenied {
            path: "k".to_owned(),
            source: body.to_owned().into(),
        };
        let failed = failed("read", "s3://b/k", &error, &["AKIA1".to_owned()]);
        assert_eq!(failed.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(
            failed.to_string(),
            "cannot read s3://b/k: the store says SignatureDoesNotMatch: no such key …"
        );
    }

    #[test]
    fn without_an_answer_it_is_what_became_of_the_request() {
        let cases = [
            ("connection refused", "connection refused"),
            (
                "status code: 502: <html>\n<body>bad</body>",
                "status code: 502",
            ),
        ];
        for (why, expected) in cases {
            let failed = failed("write", "s3://b/k", &generic(why), &[]);
            assert_eq!(failed.kind(), io::ErrorKind::HostUnreachable);
            assert_eq!(
                failed.to_string(),
                format!("cannot write s3://b/k: {expected}")
            );
        }
    }
}
