"""Games: a pole to balance and tic-tac-toe, played by imitation, in closed loop: an error changes what is seen next."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np

from converters.mlp import MLP
from converters.train import TrainOptions, train
from neuro.network import SpikingNetwork

from . import measures
from .base import Context, Extra, Fold, Metric, Respond, Task
from .carry import Carried
from .words import percent

Array = np.ndarray
RETURN = Metric("mean return", measures.mean, "steps")
NOT_LOST = Metric("games not lost", measures.mean, "%", share=True)


def build(context: Context) -> tuple[Task, ...]:
    """Return the pole, baselines the angle alone and chance, and tic-tac-toe, baselines a rule and chance."""
    return _cartpole(context), _tictactoe(context)


# -- the pole ---------------------------------------------------------------------------------------

EPISODES, LONGEST, START = 50, 500, 0.2
SCALE = np.array([2.4, 3.0, 0.21, 3.0], np.float32)
GAIN = np.array([0.1, 0.3, 1.0, 0.5], np.float32)
CARRIED_STEPS = (1, 2, 4, 8)


def controller(observation: Array) -> Array:
    """Return the tuned controller's push, 1 to the right: 0.1 x + 0.3 x' + a + 0.5 a' > 0 (position x [m], angle a [rad])."""
    return np.asarray(observation @ GAIN > 0).astype(np.int64)


def balance(act: Callable[[Array], Array], seed: int = 1000, episodes: int = EPISODES, seen: list[Array] | None = None) -> Array:
    """Return the steps survived in every episode, at most 500, (episodes,). ``act`` gets all poles in every step, fallen ones too."""
    import gymnasium

    env = gymnasium.make_vec("CartPole-v1", num_envs=episodes, vectorization_mode="vector_entry_point")
    observation, _ = env.reset(seed=seed, options={"low": -START, "high": START})
    alive, returns = np.ones(episodes, bool), np.zeros(episodes)
    for _ in range(LONGEST):
        if seen is not None:
            seen.append(observation[alive].astype(np.float32))
        observation, _, fallen, ended, _ = env.step(act(observation.astype(np.float32)))
        returns += alive
        alive &= ~(fallen | ended)
        if not alive.any():
            break
    env.close()
    return returns


def beside(network: Respond, ann: Respond, agreed: list[float]) -> Callable[[Array], Array]:
    """Return a player that pushes as the network says, and notes the share of poles for which the ANN would push the same way."""

    def act(observation: Array) -> Array:
        push, other = (respond(observation / SCALE).argmax(axis=1) for respond in (network, ann))
        agreed.append(float((push == other).mean()))
        return push

    return act


def _cartpole(context: Context) -> Task:
    train_x = _cartpole_states()
    pushes = controller(train_x)

    def fit() -> MLP:
        options = TrainOptions(epochs=30, patience=8, batch_size=64, learning_rate=2e-3)
        return train((4, 8, 2), train_x / SCALE, pushes, options, progress=context.progress)

    mlp = context.network("games-cartpole", fit)

    def play(respond: Respond) -> Array:
        return balance(lambda o: respond(o / SCALE).argmax(axis=1))[:, None]

    def extras(ann: Respond, snn: Respond, network: SpikingNetwork, n_steps: int) -> tuple[Extra, ...]:
        rows = []
        for steps in CARRIED_STEPS:
            for how, keep in (("reset", False), ("carried", True)):
                agreed: list[float] = []
                act = beside(Carried(network, steps, keep), ann, agreed)
                returns = balance(act)
                rows.append((f"T = {steps}, {how}", f"{returns.mean():.1f}", int((returns < LONGEST).sum()), percent(float(np.mean(agreed)))))
        text = (
            "The same episodes, with potentials reset before every decision and with potentials carried over from the decision before. "
            "Pushes as the ANN's: the share of decisions on the way at which the ANN would have pushed the same way."
        )
        columns = ("Potentials", "mean return", f"poles fallen of {EPISODES}", "pushes as the ANN's")
        return (Extra("Carrying the residual potential over decisions", text, columns, tuple(rows)),)

    rng = np.random.default_rng(0)
    seen: list[Array] = []
    expert = balance(controller, seen=seen)
    probe, lean = np.concatenate(seen), np.abs(seen[0][:, 2])
    far = lean > np.median(lean)
    return Task(
        name="games/cartpole",
        title="Games, balancing a pole",
        kind="feed-forward " + "-".join(map(str, mlp.sizes)) + ", in closed loop",
        unit="episodes",
        folds=(Fold(mlp, train_x[:1000] / SCALE, play, (probe[:: max(1, len(probe) // 500)] / SCALE)),),
        metric=RETURN,
        baselines=(
            ("push towards the lean, angle alone", balance(lambda o: (o[:, 2] > 0).astype(np.int64))[:, None]),
            ("the tuned controller it imitates", expert[:, None]),
            ("chance", balance(lambda o: rng.integers(0, 2, len(o)))[:, None]),
        ),
        groups={"lean at the start": np.where(far, f"over {np.median(lean):.2f} rad", f"up to {np.median(lean):.2f} rad")},
        card=(
            ("States", f"{len(train_x):,} visited by the controller with 0 to 60 % of its pushes random; start seed 0"),
            ("Test", f"{EPISODES} episodes of CartPole-v1 of seed 1000, none of them in training, started in states of +-{START} (four times the usual); at most {LONGEST} steps"),
            ("Answers", "the tuned controller's push in every state"),
            ("Classes", f"{percent(float(pushes.mean()))} of the states ask for a push to the right"),
            ("Groups", "episodes by the lean they start with"),
            ("Duplicates", f"{len(train_x) - len(np.unique(train_x, axis=0)):,} states occur twice in training"),
            ("Leakage", f"{_shared(train_x, probe):,} of {len(probe):,} states of the controller's own test episodes also stand in training"),
            ("Licence", "gymnasium, MIT"),
        ),
        steps=(1, 2, 4, 8, 16),
        engine="reference",
        extras=extras,
        notes=("Energy and latency are of one decision.", "The return ends at 500 steps: above that, better and worse players look alike."),
    )


def _shared(train: Array, other: Array) -> int:
    """Return how many rows of ``other`` are also rows of ``train``."""
    known = {row.tobytes() for row in train}
    return sum(row.tobytes() in known for row in other)


@lru_cache(maxsize=1)
def _cartpole_states() -> Array:
    """Return states the controller visits while part of its pushes are random, (n, 4) float32, shuffled."""
    rng = np.random.default_rng(0)
    seen: list[Array] = []
    share = np.linspace(0, 0.6, 40)

    def act(observation: Array) -> Array:
        chance = rng.random(len(observation)) < share
        return np.where(chance, rng.integers(0, 2, len(observation)), controller(observation))

    balance(act, seed=0, episodes=40, seen=seen)
    states = np.concatenate(seen)
    return np.asarray(states[rng.permutation(len(states))[:8000]])


# -- tic-tac-toe ------------------------------------------------------------------------------------

GAMES = 600
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
Board = tuple[int, ...]
"""Nine squares as the player to move sees them: 1 own, -1 the other's, 0 free."""


@cache
def value(board: Board) -> int:
    """Return the result of perfect play for the player to move: 1 won, 0 drawn, -1 lost."""
    if has_line(board, -1):
        return -1
    free = [k for k in range(9) if board[k] == 0]
    return max((-value(after(board, k)) for k in free), default=0)


def after(board: Board, square: int) -> Board:
    """Return the board after a move, as the other player sees it."""
    return tuple(-(1 if k == square else v) for k, v in enumerate(board))


def has_line(board: Board, who: int) -> bool:
    """Return whether three in a row belong to ``who``."""
    return any(board[a] == board[b] == board[c] == who for a, b, c in LINES)


def best_moves(board: Board) -> list[int]:
    """Return all moves that keep the value of perfect play."""
    return [k for k in range(9) if board[k] == 0 and -value(after(board, k)) == value(board)]


@lru_cache(maxsize=1)
def positions() -> tuple[Board, ...]:
    """Return every board that can arise with a move to make, in the order found from the empty one."""
    found: dict[Board, None] = {}
    todo: list[Board] = [(0,) * 9]
    while todo:
        board = todo.pop()
        if board in found or has_line(board, -1) or 0 not in board:
            continue
        found[board] = None
        todo += [after(board, k) for k in range(9) if board[k] == 0]
    return tuple(found)


def encode(boards: list[Board]) -> Array:
    """Return 18 inputs a board: own marks, then the other's."""
    b = np.array(boards).reshape(-1, 9)
    return np.concatenate([b == 1, b == -1], axis=1).astype(np.float32)


def choose(outputs: Array, boards: list[Board]) -> Array:
    """Return the free square of the largest output of every board; taken squares are ruled out by the host."""
    free = np.array(boards).reshape(-1, 9) == 0
    return np.asarray(np.where(free, outputs, -np.inf).argmax(axis=1))


def matches(respond: Respond, perfect: bool = False, games: int = GAMES, seed: int = 7) -> Array:
    """Return facts of games against a player that moves at random, or perfectly: not lost, won, moves first; (games, 3).

    Half of the games are begun. A game's chance is its own, so that different players meet the same opponents.
    """
    chance = np.stack([np.random.Generator(np.random.Philox(key=(seed, g))).random(9) for g in range(games)])
    boards: list[Board] = [(0,) * 9] * games
    result = np.zeros(games, np.int64)
    first = np.arange(games) % 2 == 0
    over = np.zeros(games, bool)
    for ply in range(9):
        own = np.flatnonzero(~over & (first == (ply % 2 == 0)))
        others = np.flatnonzero(~over & (first != (ply % 2 == 0)))
        moves: dict[int, int] = {}
        if len(own):
            asked = [boards[g] for g in own]
            moves |= dict(zip(own.tolist(), choose(respond(encode(asked)), asked).tolist(), strict=True))
        for g in others.tolist():
            options = best_moves(boards[g]) if perfect else [k for k in range(9) if boards[g][k] == 0]
            moves[g] = options[int(chance[g, ply] * len(options))]
        for g, square in moves.items():
            boards[g] = after(boards[g], square)
            if has_line(boards[g], -1):
                result[g] = 1 if g in set(own.tolist()) else -1
                over[g] = True
            elif 0 not in boards[g]:
                over[g] = True
    return np.stack([result >= 0, result > 0, first], axis=1).astype(np.float64)


def rule(x: Array) -> Array:
    """Return the scores of a player that wins where it can, else blocks, else prefers centre and corners."""
    scores = np.tile(np.array([2, 1, 2, 1, 3, 1, 2, 1, 2], np.float64), (len(x), 1))
    for row, score in zip(x, scores, strict=True):
        for weight, side in ((100, row[:9]), (50, row[9:])):
            for line in LINES:
                for k in line:
                    if all(side[other] for other in line if other != k):
                        score[k] += weight
    return scores


def _tictactoe(context: Context) -> Task:
    boards = list(positions())
    test = np.random.Generator(np.random.Philox(0)).random(len(boards)) < 0.2
    known, held = ([b for b, chosen in zip(boards, test, strict=True) if chosen == part] for part in (False, True))
    good = np.zeros((len(known), 9), np.float32)
    for row, board in zip(good, known, strict=True):
        row[best_moves(board)] = 1

    def fit() -> MLP:
        options = TrainOptions(epochs=120, patience=0, validation=0.0, batch_size=64, learning_rate=2e-3, learning_rate_decay=0.97)
        return train((18, 96, 64, 9), encode(known), good, options, progress=context.progress)

    mlp = context.network("games-tictactoe", fit)

    def optimal(respond: Respond) -> str:
        moves = choose(respond(encode(held)), held)
        return percent(float(np.mean([m in best_moves(b) for m, b in zip(moves, held, strict=True)])))

    def extras(ann: Respond, snn: Respond, network: SpikingNetwork, n_steps: int) -> tuple[Extra, ...]:
        rows = []
        for name, respond in (("ANN", ann), (f"spiking, T = {n_steps}", snn), ("rule (win, block, centre, corner)", rule)):
            chance, strong = matches(respond), matches(respond, perfect=True)
            lost = [int((facts[:, 0] == 0).sum()) for facts in (chance, strong)]
            rows.append((name, percent(float(chance[:, 1].mean())), lost[0], lost[1], optimal(respond)))
        columns = ("Player", "won against chance", f"lost of {GAMES} against chance", f"lost of {GAMES} against perfect play", "best move, held-out boards")
        return (Extra("Games won and lost", f"{len(held):,} boards were never shown in training.", columns, tuple(rows)),)

    rng = np.random.default_rng(0)
    facts = matches(mlp.forward)
    return Task(
        name="games/tictactoe",
        title="Games, tic-tac-toe",
        kind="feed-forward " + "-".join(map(str, mlp.sizes)) + ", in closed loop",
        unit="games",
        folds=(Fold(mlp, encode(known)[::4], matches, encode(boards)[::9]),),
        metric=NOT_LOST,
        more=(Metric("games won", lambda f: float(f[:, 1].mean()), "%"),),
        baselines=(("rule (win, block, centre, corner)", matches(rule)), ("chance", matches(lambda x: rng.random((len(x), 9))))),
        groups={"who begins": np.where(facts[:, 2] > 0, "the network", "the opponent")},
        card=(
            ("Classes", f"9 squares, several of them right on most boards: {np.mean([len(best_moves(b)) for b in boards]):.1f} on average"),
            ("Groups", "games by who begins"),
            ("Duplicates", f"{len(boards) - len(set(boards))} boards stand twice"),
            ("Boards", f"{len(boards):,} with a move to make: {len(known):,} train, {len(held):,} held out, drawn at random"),
            ("Answers", "every move that perfect play (full search) allows"),
            ("Leakage", "no board is in both parts; turned and mirrored boards may be, and games pass through trained boards"),
            ("Opponent", f"moves at random, {GAMES} games with fixed chance, half of them begun by the network"),
            ("Licence", "made here"),
        ),
        steps=(1, 2, 4, 8, 16, 32),
        engine="reference",
        extras=extras,
        notes=("Energy and latency are of one move.", "Taken squares are ruled out by the host."),
    )
