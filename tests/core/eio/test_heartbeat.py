from stretto_core.eio.heartbeat import Heartbeat


def test_a_client_that_answers() -> None:
    heart = Heartbeat.start(300, 200, 1_000)
    assert heart.at == 1_300
    assert heart.beat(1_300)
    assert heart.at == 1_500
    heart.pong(1_401)
    assert heart.at == 1_701
    assert heart.beat(1_701)


def test_a_client_that_does_not() -> None:
    heart = Heartbeat.start(300, 200, 0)
    assert heart.beat(300)
    assert not heart.beat(500)


def test_a_pong_that_nobody_asked_for() -> None:
    heart = Heartbeat.start(300, 200, 0)
    heart.pong(250)
    assert heart.at == 300


def test_a_late_ping_gives_the_whole_time() -> None:
    heart = Heartbeat.start(300, 200, 0)
    assert heart.beat(450)
    assert heart.at == 650


def test_an_answer_under_way_is_given_more_time() -> None:
    heart = Heartbeat.start(300, 200, 0)
    heart.postpone(100)
    assert heart.at == 300
    assert heart.beat(300)
    heart.postpone(450)
    assert heart.at == 500
    assert heart.beat(500)
    assert heart.at == 650
    assert not heart.beat(650)
    heart.pong(651)
    assert heart.at == 951


def test_pings_go_on_however_often_an_answer_is_given_more_time() -> None:
    heart = Heartbeat.start(300, 200, 0)
    pings = []
    for now in range(0, 1_500, 10):
        heart.postpone(now)
        if now >= heart.at:
            assert heart.beat(now)
            pings.append(now)
    assert pings == [300, 500, 700, 900, 1_100, 1_300]
    assert not heart.beat(1_690)
