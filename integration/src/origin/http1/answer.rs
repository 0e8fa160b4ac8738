//! What each path answers.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::pattern;
use super::wire::{Connection, Seen};

/// How much of a generated body is written at once: a multiple of the pattern's
/// period, so that one block serves every offset.
const BLOCK: usize = 251 * 256;

/// Answers one request; whether the connection can take another.
pub(super) async fn answer(
    connection: &mut Connection,
    request: &Seen,
    routes: &HashMap<String, Bytes>,
) -> io::Result<bool> {
    let keep = !request
        .all("connection")
        .iter()
        .any(|v| v.eq_ignore_ascii_case("close"));
    if let Some(answer) = routes.get(request.path()) {
        connection.drain().await?;
        connection.stream.write_all(answer).await?;
        return Ok(keep);
    }
    let mut segments = request.path().split('/').skip(1);
    let what = segments.next().unwrap_or_default();
    let mut number = || segments.next().and_then(|text| text.parse::<u64>().ok());
    // These three answer before, or without, the end of the body.
    match what {
        "duplex" => {
            duplex(connection).await?;
            return Ok(keep);
        }
        "hang" => {
            connection.drain().await?;
            std::future::pending::<()>().await;
        }
        "close" => {
            connection.drain().await?;
            return Ok(false);
        }
        _ => {}
    }
    if what == "sink" {
        sink(connection).await?;
        return Ok(keep);
    }
    if what == "echo" {
        echo(connection, request).await?;
        return Ok(keep);
    }
    connection.drain().await?;
    match (what, number(), number()) {
        ("bytes", Some(length), _) => {
            head(connection, 200, &format!("Content-Length: {length}")).await?;
            if request.method != "HEAD" {
                generate(connection, length, false).await?;
            }
        }
        ("chunked", Some(length), _) => {
            head(connection, 200, "Trailer: x-bytes\r\nTransfer-Encoding: chunked").await?;
            generate(connection, length, true).await?;
            let end = format!("0\r\nx-bytes: {length}\r\n\r\n");
            connection.stream.write_all(end.as_bytes()).await?;
        }
        ("slow", Some(pieces), Some(ms)) => {
            head(connection, 200, "Transfer-Encoding: chunked").await?;
            for _ in 0..pieces {
                sleep(Duration::from_millis(ms)).await;
                connection.stream.write_all(b"5\r\ntick\n\r\n").await?;
            }
            connection.stream.write_all(b"0\r\n\r\n").await?;
        }
        ("events", ..) => {
            head(
                connection,
                200,
                "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked",
            )
            .await?;
            connection.stream.write_all(b"b\r\ndata: one\n\n\r\n").await?;
            connection.closed().await;
            return Ok(false);
        }
        ("wait", Some(ms), _) => {
            sleep(Duration::from_millis(ms)).await;
            head(connection, 200, "Content-Length: 0").await?;
        }
        ("status", Some(status), _) => head(connection, status, "Content-Length: 0").await?,
        ("die", Some(length), _) => {
            head(connection, 200, &format!("Content-Length: {length}")).await?;
            generate(connection, length / 2, false).await?;
            return Ok(false);
        }
        _ => head(connection, 404, "Content-Length: 0").await?,
    }
    Ok(keep)
}

async fn head(connection: &mut Connection, status: u64, fields: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Status\r\n{fields}\r\n\r\n");
    connection.stream.write_all(head.as_bytes()).await
}

async fn json(connection: &mut Connection, value: &serde_json::Value) -> io::Result<()> {
    let body = value.to_string();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    head(connection, 200, &fields).await?;
    connection.stream.write_all(body.as_bytes()).await
}

async fn generate(connection: &mut Connection, length: u64, chunked: bool) -> io::Result<()> {
    let block: Vec<u8> = (0..BLOCK as u64).map(pattern).collect();
    let mut left = length;
    while left > 0 {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        if chunked {
            connection.stream.write_all(format!("{take:x}\r\n").as_bytes()).await?;
        }
        connection.stream.write_all(&block[..take]).await?;
        if chunked {
            connection.stream.write_all(b"\r\n").await?;
        }
        left -= take as u64;
    }
    Ok(())
}

async fn duplex(connection: &mut Connection) -> io::Result<()> {
    head(connection, 200, "Transfer-Encoding: chunked").await?;
    while let Some(piece) = connection.read_piece().await? {
        if piece.is_empty() {
            continue;
        }
        connection
            .stream
            .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .await?;
        connection.stream.write_all(&piece).await?;
        connection.stream.write_all(b"\r\n").await?;
    }
    connection.stream.write_all(b"0\r\n\r\n").await
}

async fn sink(connection: &mut Connection) -> io::Result<()> {
    let (mut bytes, mut hash) = (0_u64, Sha256::new());
    while let Some(piece) = connection.read_piece().await? {
        bytes += piece.len() as u64;
        hash.update(&piece);
    }
    let answer = json!({ "bytes": bytes, "sha256": hex(&hash.finalize()) });
    json(connection, &answer).await
}

async fn echo(connection: &mut Connection, request: &Seen) -> io::Result<()> {
    let mut body = Vec::new();
    while let Some(piece) = connection.read_piece().await? {
        body.extend_from_slice(&piece);
    }
    let lines: Vec<String> = request
        .lines
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect();
    let answer = json!({
        "method": request.method,
        "target": request.target,
        "lines": lines,
        "body": String::from_utf8_lossy(&body),
        "trailers": connection.trailers,
    });
    json(connection, &answer).await
}

/// Bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
