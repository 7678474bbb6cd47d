//! The two engines behind one trait, against themselves and each other.

mod support;

use keyway_mux::{
    Config, Connector, Engine, Listener, Role, Session,
    backend::{YamuxError, YamuxSession},
};
use support::bounded;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};
use tower_service::Service;

/// Echoes everything, stream by stream, until the session is over.
async fn echo<E>(mut listener: Listener<E>) -> usize
where
    E: Engine,
    E::Stream: AsyncRead + AsyncWrite,
{
    let mut served = 0;
    while let Ok(stream) = listener.accept().await {
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
        served += 1;
    }
    served
}

/// Asks through a connector, some small and one large question.
async fn ask<E>(engine: E)
where
    E: Engine,
    E::Stream: AsyncRead + AsyncWrite,
{
    let mut connector = Connector::new(engine.clone());
    for size in [1, 64, 5000, 1 << 20] {
        let stream = connector
            .call("http://peer".parse().unwrap())
            .await
            .unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let question = vec![7; size];
        let writing = async {
            writer.write_all(&question).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut answer = Vec::new();
        let (_, read) = tokio::join!(writing, reader.read_to_end(&mut answer));
        read.unwrap();
        assert!(answer == question, "{size} bytes");
    }
    bounded("the close", engine.close()).await.unwrap();
}

#[tokio::test]
async fn the_native_engine_talks_to_itself() {
    let (client, server) = support::pair();
    let serving = tokio::spawn(echo(Listener::new(server.session)));
    bounded("the questions", ask(client.session)).await;
    assert_eq!(bounded("the server", serving).await.unwrap(), 4);
}

#[tokio::test]
async fn the_native_engine_asks_the_second() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, driver) = Session::new(near, Role::Client, Config::default());
    tokio::spawn(driver);
    let (server, driver) = YamuxSession::new(far, Role::Server);
    tokio::spawn(driver);
    let serving = tokio::spawn(echo(Listener::new(server)));
    bounded("the questions", ask(client)).await;
    assert_eq!(bounded("the server", serving).await.unwrap(), 4);
}

#[tokio::test]
async fn the_second_engine_asks_the_native() {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, driver) = YamuxSession::new(near, Role::Client);
    tokio::spawn(driver);
    let (server, driver) = Session::new(far, Role::Server, Config::default());
    tokio::spawn(driver);
    let serving = tokio::spawn(echo(Listener::new(server)));
    bounded("the questions", ask(client)).await;
    assert_eq!(bounded("the server", serving).await.unwrap(), 4);
}

#[tokio::test]
async fn a_second_engine_without_its_driver_fails_and_does_not_hang() {
    let (near, _far) = UnixStream::pair().unwrap();
    let (client, driver) = YamuxSession::new(near, Role::Client);
    drop(driver);
    assert!(matches!(
        Engine::open(&client).await,
        Err(YamuxError::Closed)
    ));
    assert!(matches!(
        Engine::accept(&client).await,
        Err(YamuxError::Closed)
    ));
    assert!(matches!(
        Engine::close(&client).await,
        Err(YamuxError::Closed)
    ));
}
