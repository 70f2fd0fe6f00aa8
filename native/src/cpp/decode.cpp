// One forward pass for generation, in bfloat16 or float32 (vectors.h): a few tokens through all blocks in one parallel region. With one token the weights are read once and that
// is the bound; nothing here may cost more than a little beside it.
//
// Roundings are those of the training pass (attention.cpp, and libtorch's norms): activations, keys, values and attention weights are of the one type, sums float32. A
// token's numbers depend on its own sequence alone, bit for bit, whatever else is in the pass and however many threads there are.
//
// The cache: keys by sixteen places, [columns / 16][words of a head][16] of neighbouring features, so that one vector of sums is sixteen scores; values
// [columns / PER][features, rounded up to 16] words of neighbouring places, so that it is sixteen features of the result.

#include "decode.h"
#include "vectors.h"

#ifdef RLHF_KERNELS

#include "products.h"
#include <omp.h>
#include <sched.h>
#include <stdlib.h>

namespace {

constexpr int64_t ALONE = 1 << 21; // multiplications below which one thread works: some ten microseconds
constexpr int64_t FETCHED = 1 << 15; // words of keys, and of values, that are read ahead: with both a quarter of a second-level cache of 1 MiB
constexpr int64_t QUERIES = 4; // heads that share keys and values and are worked on together

// Rows between the stages.
struct Work {
  Number *x;      // residual stream, [tokens][width]
  Number *branch; // what is to be added to it, [tokens][width]
  Number *normed, *normed2;
  Number *kept;   // the wanted rows of x
  Number *qkv;    // [tokens][(heads + 2 · kv_heads) · head]
  Number *seen;   // attention's result, [tokens][heads · head]
  Number *mixed;  // the same after its projection, where both branches are parallel
  Number *gate, *inner;
  EightsRows eights, eights2; // rows that meet weights of eight bits, and where both branches are parallel those of the other branch
};

// Where threads wait for one another, some sixty times a token. It gives way sooner than OpenMP's: where other programs run, a thread that spins keeps the
// one that it waits for from running.
struct Meeting {
  int arrived = 0, round = 0;
  void wait(int threads) {
    const int now = __atomic_load_n(&round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == threads) {
      arrived = 0;
      __atomic_store_n(&round, now + 1, __ATOMIC_RELEASE);
      return;
    }
    for (int spins = 0; __atomic_load_n(&round, __ATOMIC_ACQUIRE) == now; ++spins) spins < 2000 ? _mm_pause() : (void)sched_yield();
  }
};

INLINE float sum_of(const float *x, int64_t n) {
  Floats sum = zero();
  for (int64_t i = 0; i < n; i += 16) sum = add(sum, load(x + i, first(n - i)));
  return sum_of(sum);
}

// A row under a norm. `x`: room for a row.
INLINE void norm(const DecodeNorm &w, const Number *from, Number *to, float *x, int64_t n) {
  Floats squares = zero();
  for (int64_t i = 0; i < n; i += 16) store(x + i, load(from + i, first(n - i)));
  const float mean = w.bias ? sum_of(x, n) / float(n) : 0.0f;
  for (int64_t i = 0; i < n; i += 16) {
    const Floats y = only(first(n - i), sub(load(x + i), all(mean)));
    squares = fmadd(y, y, squares);
  }
  const Floats rate = all(1.0f / __builtin_sqrtf(sum_of(squares) / float(n) + w.eps));
  for (int64_t i = 0; i < n; i += 16) {
    const Mask m = first(n - i);
    const Floats y = mul(sub(load(x + i), all(mean)), rate);
    store(to + i, w.bias ? fmadd(y, load(w.weight + i, m), load(w.bias + i, m)) : mul(y, load(w.weight + i, m)), m);
  }
}

INLINE void add(Number *x, const Number *y, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) store(x + i, add(load(x + i, first(n - i)), load(y + i, first(n - i))), first(n - i));
}

// How far all threads are with a stage that they do in pieces, in a line of its own.
struct alignas(64) Stage {
  int64_t taken;
};

INLINE Product product_of(const Number *x, int64_t rows, const DecodeLinear &w) { return {rows, w.n, w.k, (const uint32_t *)x, w.k / PER, 0, w.words}; }

INLINE bool there(const DecodeLinear &w) { return w.words || w.eights.values; }

constexpr int64_t EIGHTS_ROWS = 96; // rounded rows that stay in the second-level cache while weights pass

// Pieces of a product of rounded rows, as threads take them: `work(first row, end, tile)`, all tiles by the first rows before the next.
template <class Work> void eights_pieces(int64_t rows, const DecodeLinear &w, Stage &stage, int threads, Work work) {
  const int64_t tiles = (w.n + EIGHTS_TILE - 1) / EIGHTS_TILE, groups = (rows + EIGHTS_ROWS - 1) / EIGHTS_ROWS;
  const int64_t multiplied = (rows ? rows : 1) * w.k * EIGHTS_TILE / (groups ? groups : 1), smallest = (2 * MUCH + multiplied - 1) / multiplied;
  for (;;) {
    const int64_t left = groups * tiles - __atomic_load_n(&stage.taken, __ATOMIC_RELAXED), some = left / (2 * threads);
    const int64_t many = some < smallest ? smallest : some, from = __atomic_fetch_add(&stage.taken, many, __ATOMIC_RELAXED);
    if (from >= groups * tiles) return;
    for (int64_t i = from, to = least(from + many, groups * tiles); i < to; ++i)
      work(i / tiles * EIGHTS_ROWS, least((i / tiles + 1) * EIGHTS_ROWS, rows), i % tiles);
  }
}

// Rows [from, to) by one tile, to where they go.
template <class Put, int A> INLINE void eights_tile(const EightsRows &x, const DecodeLinear &w, const Out &o, int64_t from, int64_t to, int64_t tile) {
  alignas(64) float c[EIGHTS_ROWS * EIGHTS_TILE];
  rlhf_eights_tile(&w.eights, tile, &x, from, to - from, c);
  const int64_t first_column = tile * EIGHTS_TILE, end = least(first_column + EIGHTS_TILE, w.n);
  for (int64_t i = from; i < to; ++i)
    for (int64_t j = first_column; j < end; j += 16) Put::template put<A>(o, i, j, first(end - j), load(c + (i - from) * EIGHTS_TILE + j - first_column));
}

// rows · W into rows `stride` apart. `eights`: the same rows where W is of eight bits.
template <class Put, int A>
INLINE void multiply_rows(const Number *x, const EightsRows &eights, int64_t rows, const DecodeLinear &w, void *to, int64_t stride, void *inner, Stage &stage,
                          int threads) {
  const Out o{0, 0, 0, to, stride, w.bias, inner};
  if (w.words) return share<Put, A>(product_of(x, rows, w), o, stage.taken, threads);
  eights_pieces(rows, w, stage, threads, [&](int64_t from, int64_t to, int64_t tile) { eights_tile<Put, A>(eights, w, o, from, to, tile); });
}

template <int A> void up_as(const Work &w, int64_t rows, const DecodeBlock &b, const Number *x, const EightsRows &eights, Stage &stage, int threads) {
  const int64_t n = b.up.n;
  if (!there(b.gate)) return multiply_rows<Activate, A>(x, eights, rows, b.up, w.inner, n, nullptr, stage, threads);
  if (!b.gate.words) {
    const Out gated{0, 0, 0, w.gate, n, b.gate.bias, nullptr}, out{0, 0, 0, w.inner, n, b.up.bias, w.gate};
    return eights_pieces(rows, b.up, stage, threads, [&](int64_t from, int64_t to, int64_t tile) {
      eights_tile<Activate, A>(eights, b.gate, gated, from, to, tile);
      eights_tile<Times, NONE>(eights, b.up, out, from, to, tile);
    });
  }
  const Product gate = product_of(x, rows, b.gate), up = product_of(x, rows, b.up);
  const Out gated{0, 0, 0, w.gate, n, b.gate.bias, nullptr}, out{0, 0, 0, w.inner, n, b.up.bias, w.gate};
  const Pieces pieces(up, out, stage.taken, threads);
  pieces.each([&](Piece now, Piece next) {
    part<Activate, A>(gate, gated, now, pieces.tile(up.b, now));
    part<Times, NONE>(up, out, now, pieces.tile(gate.b, next));
  });
}

void up(const Work &w, int64_t rows, const Decode &d, const DecodeBlock &b, const Number *x, const EightsRows &eights, Stage &stage, int threads) {
  switch (d.activation) {
  case GELU_TANH: return up_as<GELU_TANH>(w, rows, b, x, eights, stage, threads);
  case GELU: return up_as<GELU>(w, rows, b, x, eights, stage, threads);
  case RELU: return up_as<RELU>(w, rows, b, x, eights, stage, threads);
  default: return up_as<SILU>(w, rows, b, x, eights, stage, threads);
  }
}

// Where a head of a token's queries (part 0), keys (1) or values (2) begins.
INLINE const Number *head_of(const Work &w, const Decode &d, int64_t token, int part, int64_t head) {
  const int64_t skip = part == 0 ? 0 : part == 1 ? d.heads : d.heads + d.kv_heads;
  return w.qkv + (token * (d.heads + 2 * d.kv_heads) + (d.by_head ? 3 * head + part : skip + head)) * d.head;
}

// A query or key, normed and turned.
INLINE void prepare(const Decode &d, const DecodeNorm &w, const Number *from, Number *to, int64_t token) {
  float x[512 + 16];
  if (w.weight) {
    norm(w, from, to, x, d.head);
    from = to;
  }
  for (int64_t i = 0; i < d.head; i += 16) store(x + i, load(from + i, first(d.head - i)));
  const int64_t half = d.turning / 2;
  if (half) turn(x, d.cos + token * half, d.sin + token * half, half, 1.0f);
  for (int64_t i = 0; i < d.head; i += 16) store(to + i, load(x + i), first(d.head - i));
}

INLINE uint32_t *cached(const Decode &d, int64_t layer, int part, int64_t slot, int64_t head) {
  return d.cache + (((2 * layer + part) * d.slots + slot) * d.kv_heads + head) * decode_words(d.columns, d.head, PER);
}

// Writes the tokens' keys and values of one head.
void keep(const Work &w, const Decode &d, const DecodeBlock &b, int64_t layer, int64_t head) {
  alignas(64) Number key[512 + 16];
  const int64_t words = d.head / PER, features = (d.head + 15) / 16 * 16;
  for (int64_t i = 0; i < d.tokens; ++i) {
    const int64_t place = d.place[i];
    prepare(d, b.k_norm, head_of(w, d, i, 1, head), key, i);
    uint32_t *keys = cached(d, layer, 0, d.slot[i], head) + place / 16 * words * 16 + place % 16;
    for (int64_t p = 0; p < words; ++p) keys[p * 16] = ((const uint32_t *)key)[p];
    uint32_t *values = cached(d, layer, 1, d.slot[i], head) + place / PER * features;
    const Number *value = head_of(w, d, i, 2, head);
    for (int64_t c = 0; c < d.head; c += 16) put_row(values + c, value + c, place, first(d.head - c)); // what no token has taken yet has the weight 0
  }
}

// The places that a token sees: from `oldest` on, and of whole sixteens from `begin` to `end`.
struct Span {
  int64_t oldest, begin, end;
};

INLINE Span span_of(const DecodeBlock &b, int64_t place) {
  const int64_t oldest = b.window && place >= b.window ? place - b.window + 1 : 0;
  return {oldest, oldest / 16 * 16, (place + 16) / 16 * 16};
}

// A token's keys and values of one head, or as many of them, come to the second-level cache.
INLINE void fetch(const Decode &d, const DecodeBlock &b, int64_t layer, int64_t token, int64_t kv_head) {
  const int64_t words = d.head / PER, features = (d.head + 15) / 16 * 16, place = d.place[token];
  const Span s = span_of(b, place);
  const uint32_t *keys = cached(d, layer, 0, d.slot[token], kv_head), *values = cached(d, layer, 1, d.slot[token], kv_head);
  const auto read = [](const uint32_t *from, const uint32_t *to) {
    for (to = to - from > FETCHED ? from + FETCHED : to; from < to; from += 16) __builtin_prefetch(from, 0, 2);
  };
  read(keys + s.begin * words, keys + s.end * words);
  read(values + s.begin / PER * features, values + (place / PER + 1) * features);
}

// Scores of R queries with V times sixteen keys.
template <int R, int V> INLINE void score(int64_t words, const uint32_t *const *q, const uint32_t *keys, Floats (&c)[R][V]) {
  clear(c);
  for (int64_t p = 0; p < words; ++p) {
    Words y[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) y[v] = words_at(keys + (v * words + p) * 16);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) c[r][v] = dot(c[r][v], word_at(q[r] + p), y[v]);
  }
}

// V times sixteen features of R results.
template <int R, int V> INLINE void mix(int64_t from, int64_t to, const uint32_t *const *weights, const uint32_t *values, int64_t features, Floats (&c)[R][V]) {
  clear(c);
  for (int64_t j = from; j < to; ++j) {
    Words y[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) y[v] = words_at(values + j * features + 16 * v);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) c[r][v] = dot(c[r][v], word_at(weights[r] + j), y[v]);
  }
}

// R queries of one token that share keys and values. `scores`, `weights`: room for R rows of columns.
template <int R>
void look(const Decode &d, const DecodeBlock &b, const Number *const (&q)[R], const uint32_t *keys, const uint32_t *values, int64_t place, float *scores,
          Number *weights, Number *out) {
  const int64_t words = d.head / PER, features = (d.head + 15) / 16 * 16;
  constexpr int V = registers(R);
  const auto [oldest, begin, end] = span_of(b, place);
  const Floats scale = all(b.scale), nothing = all(-__builtin_inff());
  const uint32_t *query[R], *weight[R];
  Floats most[R];
  for (int r = 0; r < R; ++r) {
    query[r] = (const uint32_t *)q[r];
    weight[r] = (const uint32_t *)(weights + r * d.columns);
    most[r] = nothing;
  }
  const auto put = [&](int r, int64_t j, Floats x) {
    const Mask seen = first(place + 1 - j) & ~first(oldest - j);
    x = select(seen, mul(x, scale), nothing);
    store(scores + r * d.columns + j, x);
    most[r] = larger(most[r], x);
  };
  int64_t j = begin;
  for (; j + 16 * V <= end; j += 16 * V) {
    Floats c[R][V];
    score(words, query, keys + j * words, c);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) put(r, j + 16 * v, c[r][v]);
  }
  for (; j < end; j += 16) {
    Floats c[R][1];
    score(words, query, keys + j * words, c);
    for (int r = 0; r < R; ++r) put(r, j, c[r][0]);
  }
  float total[R];
  for (int r = 0; r < R; ++r) {
    const Floats largest = all(most_of(most[r])), little = all(-1e30f);
    Floats sum = zero();
    for (j = begin; j < end; j += 16) {
      const Floats y = load(scores + r * d.columns + j);
      const Floats p = only(Mask(~above(little, y)), exp_of(sub(y, largest)));
      sum = add(sum, p);
      store(weights + r * d.columns + j, p);
    }
    total[r] = sum_of(sum);
  }
  const auto give = [&](int r, int64_t f, Floats x) {
    store(out + r * d.head + f, mul(x, all(1.0f / total[r])), first(d.head - f));
  };
  int64_t f = 0;
  for (; f + 16 * V <= features; f += 16 * V) {
    Floats c[R][V];
    mix(begin / PER, place / PER + 1, weight, values + f, features, c);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) give(r, f + 16 * v, c[r][v]);
  }
  for (; f < features; f += 16) {
    Floats c[R][1];
    mix(begin / PER, place / PER + 1, weight, values + f, features, c);
    for (int r = 0; r < R; ++r) give(r, f, c[r][0]);
  }
}

// All queries of one token that read one head of keys and values. `to`: the token's row of results.
void attend(const Work &w, const Decode &d, const DecodeBlock &b, int64_t layer, int64_t token, int64_t kv_head, float *scores, Number *weights, Number *to) {
  const int64_t shared = d.heads / d.kv_heads;
  const uint32_t *keys = cached(d, layer, 0, d.slot[token], kv_head), *values = cached(d, layer, 1, d.slot[token], kv_head);
  alignas(64) Number rows[QUERIES][512 + 16];
  for (int64_t h = kv_head * shared; h < (kv_head + 1) * shared; h += QUERIES) {
    const int64_t n = least(QUERIES, (kv_head + 1) * shared - h);
    for (int64_t r = 0; r < n; ++r) prepare(d, b.q_norm, head_of(w, d, token, 0, h + r), rows[r], token);
    Number *out = to + h * d.head;
    const int64_t place = d.place[token];
    switch (n) {
    case 1: look<1>(d, b, {rows[0]}, keys, values, place, scores, weights, out); break;
    case 2: look<2>(d, b, {rows[0], rows[1]}, keys, values, place, scores, weights, out); break;
    case 3: look<3>(d, b, {rows[0], rows[1], rows[2]}, keys, values, place, scores, weights, out); break;
    default: look<4>(d, b, {rows[0], rows[1], rows[2], rows[3]}, keys, values, place, scores, weights, out);
    }
  }
}

// Row i, of k numbers, rounded to eight bits where that map is of them. `x`: room for a row.
INLINE void round_for(const DecodeLinear &w, const Number *rows, int64_t i, const EightsRows &to, float *x) {
  if (w.words) return;
  for (int64_t c = 0; c < w.k; c += 16) store(x + c, load(rows + i * w.k + c, first(w.k - c)));
  rlhf_eights_round(x, w.k, &to, i);
}

// One thread's part of everything.
void pass(Work w, const Decode &d, int64_t widest, Meeting &meeting, Stage *stage, int t, int threads, char *memory) {
  float *scores = (float *)memory, *row = scores + QUERIES * d.columns;
  Number *weights = (Number *)(row + widest + 16);
  const int64_t width = d.width, qkv_width = (d.heads + 2 * d.kv_heads) * d.head, seen_width = d.heads * d.head;
  int64_t n = d.tokens; // rows: in the last block, once keys and values are written, those that are wanted
  const auto rows = [&](auto &&body) {
    for (int64_t i = n * t / threads; i < n * (t + 1) / threads; ++i) body(i);
  };
  rows([&](int64_t i) {
    for (int64_t c = 0; c < width; c += 16) {
      const Mask m = first(width - c);
      Floats x = load(d.embedding + d.ids[i] * width + c, m);
      if (d.positions) x = add(x, load(d.positions + d.place[i] * width + c, m));
      store(w.x + i * width + c, x, m);
    }
  });
  for (int64_t l = 0; l < d.layers; ++l) {
    const DecodeBlock &b = d.blocks[l];
    const bool last = l + 1 == d.layers;
    rows([&](int64_t i) {
      Number *x = w.x + i * width;
      if (l) add(x, w.branch + i * width, width);
      norm(b.norm1, x, w.normed + i * width, row, width);
      round_for(b.qkv[0], w.normed, i, w.eights, row);
      if (d.parallel) norm(b.norm2, x, w.normed2 + i * width, row, width);
    });
    meeting.wait(threads);
    int64_t column = 0;
    for (const DecodeLinear &part : b.qkv) {
      if (there(part)) multiply_rows<Plain, NONE>(w.normed, w.eights, n, part, w.qkv + column, qkv_width, nullptr, *stage++, threads);
      column += part.n;
    }
    meeting.wait(threads);
    for (int64_t head = t; head < d.kv_heads; head += threads) keep(w, d, b, l, head);
    meeting.wait(threads);
    if (last) n = d.wanted;
    const int64_t items = n * d.kv_heads, few = (items + 8 * threads - 1) / (8 * threads);
    const auto token = [&](int64_t item) { return last ? d.rows[item / d.kv_heads] : item / d.kv_heads; };
    for (int64_t from; (from = __atomic_fetch_add(&stage->taken, few, __ATOMIC_RELAXED)) < items;)
      for (int64_t item = from, to = least(from + few, items); item < to; ++item) {
        if (item + 1 < to) fetch(d, b, l, token(item + 1), (item + 1) % d.kv_heads);
        attend(w, d, b, l, token(item), item % d.kv_heads, scores, weights, w.seen + item / d.kv_heads * seen_width);
      }
    ++stage;
    if (last) { // the wanted rows, to buffers that nobody reads any more
      rows([&](int64_t i) {
        copy(w.kept + i * width, w.x + d.rows[i] * width, width);
        if (d.parallel) copy(w.normed + i * width, w.normed2 + d.rows[i] * width, width);
      });
      w.x = w.kept;
      w.normed2 = w.normed;
    }
    meeting.wait(threads);
    if (!b.out.words || (d.parallel && !b.up.words)) {
      rows([&](int64_t i) {
        round_for(b.out, w.seen, i, w.eights, row);
        if (d.parallel) round_for(b.up, w.normed2, i, w.eights2, row);
      });
      meeting.wait(threads);
    }
    const auto round_inner = [&] {
      meeting.wait(threads);
      if (b.down.words) return;
      rows([&](int64_t i) { round_for(b.down, w.inner, i, w.eights, row); });
      meeting.wait(threads);
    };
    multiply_rows<Plain, NONE>(w.seen, w.eights, n, b.out, d.parallel ? w.mixed : w.branch, width, nullptr, *stage++, threads);
    if (d.parallel) {
      up(w, n, d, b, w.normed2, w.eights2, *stage++, threads);
      round_inner();
      multiply_rows<Plus, NONE>(w.inner, w.eights, n, b.down, w.branch, width, w.mixed, *stage++, threads);
    } else {
      meeting.wait(threads);
      rows([&](int64_t i) {
        Number *x = w.x + i * width;
        add(x, w.branch + i * width, width);
        norm(b.norm2, x, w.normed + i * width, row, width);
        round_for(b.up, w.normed, i, w.eights, row);
      });
      meeting.wait(threads);
      up(w, n, d, b, w.normed, w.eights, *stage++, threads);
      round_inner();
      multiply_rows<Plain, NONE>(w.inner, w.eights, n, b.down, w.branch, width, nullptr, *stage++, threads);
    }
    meeting.wait(threads);
  }
  rows([&](int64_t i) {
    Number *x = w.x + i * width;
    add(x, w.branch + i * width, width);
    norm(d.norm, x, w.normed + i * width, row, width);
    round_for(d.logits, w.normed, i, w.eights, row);
  });
  meeting.wait(threads);
  multiply_rows<Exact, NONE>(w.normed, w.eights, n, d.logits, d.out, d.logits.n, nullptr, *stage, threads);
}

} // namespace

extern "C" {

int NAMED(decode)(const Decode *decode, int threads) {
  const Decode &d = *decode;
  const int64_t wide = d.tokens * d.width, inner = d.tokens * d.blocks[0].up.n, qkv = d.tokens * (d.heads + 2 * d.kv_heads) * d.head;
  const DecodeBlock &b = d.blocks[0];
  const int64_t widest = greatest(d.width, greatest(d.heads * d.head, b.up.n)); // of rows that maps read
  bool few_bits = !d.logits.words;
  for (int64_t l = 0; l < d.layers; ++l) {
    const DecodeBlock &c = d.blocks[l];
    few_bits |= !c.qkv[0].words || !c.out.words || !c.up.words || !c.down.words;
  }
  const int64_t blocks = (widest + EIGHTS_BLOCK - 1) / EIGHTS_BLOCK, rounded = few_bits ? d.tokens * blocks * (2 * EIGHTS_BLOCK + 8) : 0; // bytes
  const int64_t each = (QUERIES * d.columns * (4 + sizeof(Number)) + (widest + 16) * 4 + 191) / 64 * 64; // a thread's scores, weights and row
  const int64_t rows = (6 * wide + d.wanted * d.width + qkv + d.tokens * d.heads * d.head + 2 * inner + 10 * 64 + 31) / 32 * 32;
  const int64_t stages = 7 * d.layers + 1;
  char *memory = (char *)aligned_alloc(64, rows * sizeof(Number) + threads * each + stages * sizeof(Stage) + (2 * rounded + 63) / 64 * 64);
  if (!memory) return 1;
  Number *at = (Number *)memory;
  const auto cut = [&](int64_t n) {
    Number *start = at;
    at += (n + 31) / 32 * 32;
    return start;
  };
  Work w;
  w.x = cut(wide), w.branch = cut(wide), w.normed = cut(wide), w.normed2 = cut(wide), w.mixed = cut(wide), w.kept = cut(d.wanted * d.width);
  w.qkv = cut(qkv), w.seen = cut(d.tokens * d.heads * d.head), w.gate = cut(inner), w.inner = cut(inner);
  // A small network's pass is over before threads have met so often.
  const int64_t weights = d.layers * (b.out.k * b.out.n + b.up.k * b.up.n * (there(b.gate) ? 3 : 2) + d.width * qkv / d.tokens) + d.logits.k * d.logits.n;
  if (weights * d.tokens < ALONE) threads = 1;
  char *own = memory + rows * sizeof(Number);
  Stage *stage = (Stage *)(own + threads * each);
  for (int64_t i = 0; i < stages; ++i) stage[i].taken = 0;
  char *eights = (char *)(stage + stages);
  EightsRows *const both[] = {&w.eights, &w.eights2};
  for (EightsRows *to : both) {
    int32_t *less = (int32_t *)eights;
    *to = EightsRows{(int8_t *)(less + 2 * d.tokens * blocks), (float *)(less + d.tokens * blocks), less, rlhf_eights_best()};
    eights += rounded;
  }
  Meeting meeting;
#pragma omp parallel num_threads(threads)
  {
    const Tiles tiles;
    pass(w, d, widest, meeting, stage, omp_get_thread_num(), omp_get_num_threads(), own + omp_get_thread_num() * each);
  }
  free(memory);
  return 0;
}

} // extern "C"

#endif
