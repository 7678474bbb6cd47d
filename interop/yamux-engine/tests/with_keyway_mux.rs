//! The adapter and `keyway-mux`, each as the client of the other.

use std::time::Duration;

use keyway_mux::{Config, Session};
use keyway_yamux_engine::{YamuxError, YamuxSession};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    match timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not end within {limit:?}"),
    }
}

async fn echo(stream: impl AsyncRead + AsyncWrite) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

async fn is_echoed(stream: impl AsyncRead + AsyncWrite, size: usize) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let request = vec![7; size];
    let writing = async {
        writer.write_all(&request).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut response = Vec::new();
    let (_, read) = tokio::join!(writing, reader.read_to_end(&mut response));
    read.unwrap();
    assert!(response == request, "{size} bytes");
}

const SIZES: [usize; 4] = [1, 64, 5000, 1 << 20];

#[tokio::test]
async fn a_native_client_is_served() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, driver) = Session::client(near, Config::default());
    tokio::spawn(driver);
    let (server, driver) = YamuxSession::server(far);
    tokio::spawn(driver);
    let serving = tokio::spawn(async move {
        let mut served = 0;
        while let Some(stream) = server.accept().await {
            echo(stream).await;
            served += 1;
        }
        served
    });
    for size in SIZES {
        bounded("an echo", is_echoed(client.open().await.unwrap(), size)).await;
    }
    client.close();
    bounded("the close", client.closed()).await.unwrap();
    assert_eq!(bounded("the server", serving).await.unwrap(), SIZES.len());
}

#[tokio::test]
async fn a_native_server_serves() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, driver) = YamuxSession::client(near);
    tokio::spawn(driver);
    let (server, driver) = Session::server(far, Config::default());
    tokio::spawn(driver);
    let serving = tokio::spawn(async move {
        let mut served = 0;
        while let Ok(Some(stream)) = server.accept().await {
            echo(stream).await;
            served += 1;
        }
        served
    });
    for size in SIZES {
        bounded("an echo", is_echoed(client.open().await.unwrap(), size)).await;
    }
    client.close();
    bounded("the close", client.closed()).await.unwrap();
    assert_eq!(bounded("the server", serving).await.unwrap(), SIZES.len());
}

#[tokio::test]
async fn without_its_driver_a_session_fails_and_does_not_hang() {
    let (near, _far) = UnixStream::pair().unwrap();
    let (client, driver) = YamuxSession::client(near);
    drop(driver);
    assert!(matches!(client.open().await, Err(YamuxError::Closed)));
    assert!(client.accept().await.is_none());
    client.close();
    assert!(matches!(client.closed().await, Err(YamuxError::Closed)));
}
