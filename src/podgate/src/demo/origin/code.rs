//! `code`, the shared service: a page that looks like a terminal and talks over a
//! WebSocket through the edge. It answers a few words of its own and runs nothing on
//! the machine.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::UnixMillis;
use serde_json::{Value, json};

use super::{same_origin, shown, told};
use crate::demo::page::Page;

/// A line is typed by hand; nobody needs more.
const LONGEST_LINE: usize = 4096;
const HELP: &str = "\
help            these words
whoami          who you are to this pod
headers         every header of the request that opened this socket
echo WORDS      the same words back
time            the pod's clock
uptime          how long this socket has been open
count N         N lines, ten a second, to see them stream
ping            a round trip through the edge
clear           an empty screen
exit            close the socket
";

struct Code {
    page: Page,
    facts: Value,
}

/// The service.
pub(crate) fn router(facts: Value) -> anyhow::Result<Router> {
    let page = Page::new(
        include_str!("../assets/code.html"),
        include_str!("../assets/code.css"),
        include_str!("../assets/code.js"),
    )?;
    Ok(Router::new()
        .route("/", get(page_of))
        .route("/terminal", get(terminal))
        .with_state(Arc::new(Code { page, facts })))
}

async fn page_of(State(code): State<Arc<Code>>, headers: HeaderMap) -> Response {
    code.page.with(&json!({
        "facts": code.facts,
        "user": told(&headers, "x-user-id"),
        "owner": told(&headers, "x-pod-user"),
    }))
}

async fn terminal(headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !same_origin(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    upgrade
        .max_message_size(LONGEST_LINE)
        .on_upgrade(move |socket| converse(socket, headers))
}

async fn converse(mut socket: WebSocket, headers: HeaderMap) {
    let opened = Instant::now();
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(line) = message else {
            continue;
        };
        let done = match answer(&line, &headers, opened.elapsed()) {
            Answer::Text(text) => socket.send(Message::text(text)).await.is_err(),
            Answer::Count(lines) => count(&mut socket, lines).await.is_err(),
            Answer::Bye => true,
        };
        if done {
            return;
        }
    }
}

async fn count(socket: &mut WebSocket, lines: u32) -> Result<(), axum::Error> {
    for line in 1..=lines {
        tokio::time::sleep(Duration::from_millis(100)).await;
        socket.send(Message::text(format!("{line}\n"))).await?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Text(String),
    Count(u32),
    Bye,
}

fn answer(line: &str, headers: &HeaderMap, open: Duration) -> Answer {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    Answer::Text(match word {
        "" => String::new(),
        "help" => HELP.to_owned(),
        "whoami" => format!(
            "user   {}\npod    {}\nowner  {}\n",
            told(headers, "x-user-id").unwrap_or("-"),
            told(headers, "x-pod-id").unwrap_or("-"),
            told(headers, "x-pod-user").unwrap_or("-")
        ),
        "headers" => listed(&shown(headers, headers.keys())),
        "echo" => format!("{rest}\n"),
        "time" => format!("{}\n", UnixMillis::from(SystemTime::now())),
        "uptime" => format!("{}\n", humantime::format_duration(Duration::from_secs(open.as_secs()))),
        "ping" => "pong\n".to_owned(),
        "count" => match rest.parse() {
            Ok(lines @ 1..=1000) => return Answer::Count(lines),
            _ => "count takes a number from 1 to 1000\n".to_owned(),
        },
        "exit" | "quit" | "logout" => return Answer::Bye,
        other => format!("{other}: not a word I know. Try help.\n"),
    })
}

fn listed(headers: &Value) -> String {
    let lines = headers.as_object().into_iter().flatten();
    lines
        .map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_it_knows() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user-id", "u-1".parse().expect("a value"));
        let check = |line: &str, expected: &str| {
            let open = Duration::from_secs(65);
            let Answer::Text(text) = answer(line, &headers, open) else {
                panic!("{line} answers with a text");
            };
            assert!(text.contains(expected), "{line}: {text}");
        };
        check("whoami", "user   u-1\npod    -");
        check("  echo  <b>a  b</b> ", "<b>a  b</b>\n");
        check("headers", "x-user-id: u-1\n");
        check("uptime", "1m 5s");
        check("time", "T");
        check("ping", "pong");
        check("count 0", "from 1 to 1000");
        check("count 1001", "from 1 to 1000");
        check("rm -rf /", "rm: not a word I know");
        assert_eq!(answer("count 3", &headers, Duration::ZERO), Answer::Count(3));
        assert_eq!(answer("exit", &headers, Duration::ZERO), Answer::Bye);
        for word in HELP.lines().filter_map(|line| line.split_whitespace().next()) {
            let known = answer(&format!("{word} 1"), &headers, Duration::ZERO);
            // The page clears its own screen.
            let unknown = matches!(&known, Answer::Text(text) if text.contains("not a word I know"));
            assert_eq!(unknown, word == "clear", "{word}");
        }
    }
}
