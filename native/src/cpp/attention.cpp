// Causal attention over packed sequences, forward and backward, of bfloat16 or float32 (vectors.h; FlashAttention, arXiv 2205.14135: the
// scores never stand in memory as a whole; here a few rows of them do, so that the softmax needs no second thoughts).
//
//   S = scale · Q·Kᵀ;  P = softmax over what is visible;  O = P·V;  backward: dV = Pᵀ·dO;  dS = P ∘ (dO·Vᵀ − Σ dO∘O) · scale;  dQ = dS·K;  dK = dSᵀ·Q
//
// Scores, softmax, sums and the gradients of keys and values are float32; P and dS are rounded to the activations' type for the products. One thread works off one group
// for one key-value head, so results do not depend on the number of threads. A group's segments stand at columns that are multiples of TILE; what lies between
// has weight 0.

#include "attention.h"
#include "vectors.h"

#ifdef RLHF_KERNELS

#include "tiles.h"
#include <stdlib.h>

namespace {

constexpr int64_t BLOCK = ROWS == 16 ? 64 : 48; // queries of a block of the backward pass

INLINE int64_t padded(int64_t n) { return (n + TILE - 1) / TILE * TILE; }

// A head's row of a token in float32, turned by `sign` times its place's angles.
INLINE void turn(float *x, const Attention &a, int64_t token, float sign) {
  const int64_t half = a.turning / 2;
  turn(x, a.cos + token * half, a.sin + token * half, half, sign);
}

INLINE const Number *row_at(const Heads &h, int64_t token, int64_t head) { return (const Number *)h.at + token * h.row + head * h.head; }

// Copies rows of a head, turned if `rotate`; rows after `count` become 0, up to `fill`.
INLINE void gather(Number *to, const Heads &h, const Attention &a, int64_t token, int64_t head, int64_t count, int64_t fill, bool rotate) {
  float x[512];
  for (int64_t i = 0; i < count; ++i) {
    const Number *from = row_at(h, token + i, head);
    if (!rotate || !a.turning) {
      copy(to + i * a.width, from, a.width);
      continue;
    }
    for (int64_t c = 0; c < a.width; c += 16) store(x + c, load(from + c, first(a.width - c)), first(a.width - c));
    turn(x, a, token + i, 1.0f);
    for (int64_t c = 0; c < a.width; c += 16) store(to + i * a.width + c, load(x + c, first(a.width - c)), first(a.width - c));
  }
  for (int64_t i = count * a.width; i < fill * a.width; ++i) to[i] = 0;
}

// Writes a row of gradients, turned back if `rotate`.
INLINE void scatter(float *x, const Heads &h, const Attention &a, int64_t token, int64_t head, bool rotate) {
  if (rotate && a.turning) turn(x, a, token, -1.0f);
  Number *to = (Number *)h.at + token * h.row + head * h.head;
  for (int64_t c = 0; c < a.width; c += 16) store(to + c, load(x + c, first(a.width - c)), first(a.width - c));
}

// A group's segments and what one thread needs for them.
struct Work {
  const Attention *a;
  const int64_t *segment; // first tokens
  int64_t count, columns; // segments; columns of all, padded
  int64_t words, spread;  // of a head's features; tiles of them
  uint32_t *k_along, *v_along;   // [tile of columns][words][TILE]
  uint32_t *k_across, *v_across; // [spread][columns / PER][TILE]
  float *dk, *dv;                // [columns][width]
  float *scores;                 // [6][columns]
  Number *weights;                 // [48][columns]
  uint32_t *p_words, *s_words;   // [48 / PER][columns]
  Number *rows, *grad_rows;        // [TILE or 48][width]
  uint32_t *q_across, *g_across; // [spread][48 / PER][TILE]

  int64_t first_token(int64_t s) const { return segment[s]; }
  int64_t length(int64_t s) const { return segment[s + 1] - segment[s]; }
  int64_t column(int64_t s) const { // where a segment begins
    int64_t at = 0;
    for (int64_t i = 0; i < s; ++i) at += padded(length(i));
    return at;
  }
};

// The columns that queries of a segment see: all of the first segment, and their own up to themselves. Two runs of tiles, worked on as one row.
struct Seen {
  int64_t start[2], size[2]; // in columns, multiples of TILE
  int64_t place[2], keys[2]; // place in the sequence of the run's first key; keys that exist
  int64_t columns() const { return size[0] + size[1]; }
};

INLINE Seen seen_by(const Work &w, int64_t s, int64_t last_query) {
  const int64_t before = w.length(0);
  if (s == 0) return Seen{{0, 0}, {padded(last_query + 1), 0}, {0, 0}, {before, 0}};
  return Seen{{0, w.column(s)}, {padded(before), padded(last_query + 1)}, {0, before}, {before, w.length(s)}};
}

// Which of sixteen keys from `key` of a run the query at `place` sees.
INLINE Mask visible(const Seen &e, int run, int64_t key, int64_t place, int64_t window) {
  const int64_t at = e.place[run] + key, end = least(place + 1 - at, e.keys[run] - key);
  if (end <= 0) return 0;
  const int64_t start = window ? place - window + 1 - at : 0;
  return first(end) & ~first(start);
}

// 6 rows of float32 scores, scaled and with minus infinity where nothing is seen, in w.scores; and each row's largest.
INLINE void score(const Work &w, const Number *rows, const Seen &e, int64_t place, float (&largest)[ROWS]) {
  const Floats scale = all(w.a->scale), nothing = all(-__builtin_inff());
  Floats most[ROWS];
  for (int r = 0; r < ROWS; ++r) most[r] = nothing;
  int64_t column = 0;
  for (int run = 0; run < 2; ++run)
    for (int64_t t = 0; t < e.size[run]; t += TILE, column += TILE) {
      Floats c[ROWS][VECTORS];
      clear(c);
      multiply(w.words, Left{(const uint32_t *)rows, w.words, 1}, w.k_along + (e.start[run] + t) * w.words, c);
      for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) {
          const Mask m = visible(e, run, t + 16 * v, place + r, w.a->window);
          const Floats x = select(m, mul(c[r][v], scale), nothing);
          store(w.scores + r * w.columns + column + 16 * v, x);
          most[r] = larger(most[r], x);
        }
    }
  for (int r = 0; r < ROWS; ++r) largest[r] = most_of(most[r]);
}

// Sums of a row of left pairs over both runs: R rows times 16·V features of tile `f` of something packed across.
template <int R, int V> INLINE void over(const Work &w, Left a, const uint32_t *across, int64_t f, const Seen &e, Floats (&c)[R][V]) {
  const uint32_t *tile = across + f * (w.columns / PER) * TILE;
  clear(c);
  multiply(e.size[0] / PER, a, tile + e.start[0] / PER * TILE, c);
  if (!e.size[1]) return;
  a.at += e.size[0] / PER * a.word;
  multiply(e.size[1] / PER, a, tile + e.start[1] / PER * TILE, c);
}

template <int V> void forward_head(const Work &w, int64_t head) {
  const Attention &a = *w.a;
  for (int64_t s = 0; s < w.count; ++s)
    for (int64_t i = 0; i < w.length(s); i += ROWS) {
      const int64_t n = least(ROWS, w.length(s) - i), token = w.first_token(s) + i, place = (s ? w.length(0) : 0) + i;
      gather(w.rows, a.q, a, token, head, n, ROWS, true);
      const Seen e = seen_by(w, s, i + n - 1);
      const int64_t columns = e.columns();
      float largest[ROWS], total[ROWS];
      score(w, w.rows, e, place, largest);
      for (int r = 0; r < n; ++r) {
        const float *x = w.scores + r * w.columns;
        Floats sum = zero();
        const Floats most = all(largest[r]), little = all(-1e30f);
        for (int64_t j = 0; j < columns; j += 16) {
          const Floats y = load(x + j);
          const Floats p = only(Mask(~above(little, y)), exp_of(sub(y, most)));
          sum = add(sum, p);
          store(w.weights + r * w.columns + j, p);
        }
        total[r] = sum_of(sum);
        a.lse[head * a.tokens + token + r] = largest[r] + __builtin_logf(total[r]);
      }
      for (int64_t f = 0; f < w.spread; ++f) {
        Floats c[ROWS][V];
        over(w, Left{(const uint32_t *)w.weights, w.columns / PER, 1}, w.v_across, f, e, c);
        for (int r = 0; r < n; ++r)
          for (int v = 0; v < V; ++v) {
            const int64_t at = f * TILE + 16 * v;
            if (at < a.width)
              store((Number *)row_at(a.out, token + r, head) + at, mul(c[r][v], all(1.0f / total[r])), first(a.width - at));
          }
      }
    }
}

// Adds M = columns of `left` (pairs of queries, [48 / PER][columns]) times `right` (a block packed across) to rows of float32.
template <int V> INLINE void gather_gradient(const Work &w, const uint32_t *left, const uint32_t *right, int64_t queries, const Seen &e, float *sums) {
  const int64_t words = (queries + PER - 1) / PER;
  int64_t column = 0;
  for (int run = 0; run < 2; ++run) {
    const int64_t keys = least(e.size[run], e.keys[run]);
    for (int64_t f = 0; f < w.spread; ++f)
      for (int64_t j = 0; j < keys; j += ROWS) {
        Floats c[ROWS][V];
        clear(c);
        multiply(words, Left{left + column + j, 1, w.columns}, right + f * (BLOCK / PER) * TILE, c);
        for (int r = 0; r < least(ROWS, keys - j); ++r)
          for (int v = 0; v < V; ++v) {
            const int64_t at = f * TILE + 16 * v;
            float *to = sums + (e.start[run] + j + r) * w.a->width + at;
            if (at < w.a->width) store(to, add(load(to, first(w.a->width - at)), c[r][v]), first(w.a->width - at));
          }
      }
    column += e.size[run];
  }
}

template <int V> void backward_head(const Work &w, int64_t head) {
  const Attention &a = *w.a;
  const Floats scale = all(a.scale);
  for (int64_t s = 0; s < w.count; ++s)
    for (int64_t i = 0; i < w.length(s); i += BLOCK) {
      const int64_t n = least(BLOCK, w.length(s) - i), token = w.first_token(s) + i, start = (s ? w.length(0) : 0) + i;
      gather(w.rows, a.q, a, token, head, n, BLOCK, true);
      gather(w.grad_rows, a.grad_out, a, token, head, n, BLOCK, false);
      for (int64_t f = 0; f < w.spread; ++f) {
        const int64_t left = least(TILE, a.width - f * TILE);
        pack_across<Number, NONE>(w.rows + f * TILE, a.width, BLOCK, left, w.q_across + f * (BLOCK / PER) * TILE, nullptr);
        pack_across<Number, NONE>(w.grad_rows + f * TILE, a.width, BLOCK, left, w.g_across + f * (BLOCK / PER) * TILE, nullptr);
      }
      const Seen e = seen_by(w, s, i + n - 1);
      for (int64_t b = 0; b < n; b += ROWS) {
        float lse[ROWS], inner[ROWS]; // inner: Σ dO∘O
        for (int r = 0; r < ROWS; ++r) {
          lse[r] = inner[r] = 0.0f;
          if (b + r >= n) continue;
          lse[r] = a.lse[head * a.tokens + token + b + r];
          const Number *o = row_at(a.out, token + b + r, head), *g = row_at(a.grad_out, token + b + r, head);
          Floats sum = zero();
          for (int64_t c = 0; c < a.width; c += 16) sum = fmadd(load(o + c, first(a.width - c)), load(g + c, first(a.width - c)), sum);
          inner[r] = sum_of(sum);
        }
        int64_t column = 0;
        for (int run = 0; run < 2; ++run)
          for (int64_t t = 0; t < e.size[run]; t += TILE, column += TILE) {
            float p[ROWS][TILE];
            Floats c[ROWS][VECTORS];
            clear(c);
            multiply(w.words, Left{(const uint32_t *)(w.rows + b * a.width), w.words, 1}, w.k_along + (e.start[run] + t) * w.words, c);
            for (int r = 0; r < ROWS; ++r)
              for (int v = 0; v < VECTORS; ++v) {
                const Mask m = b + r < n ? visible(e, run, t + 16 * v, start + b + r, a.window) : 0;
                store(p[r] + 16 * v, only(m, exp_of(fmsub(c[r][v], scale, all(lse[r])))));
              }
            clear(c);
            multiply(w.words, Left{(const uint32_t *)(w.grad_rows + b * a.width), w.words, 1}, w.v_along + (e.start[run] + t) * w.words, c);
            for (int r = 0; r < ROWS; r += PER)
              for (int v = 0; v < VECTORS; ++v) {
                const int64_t at = column + 16 * v, word = (b + r) / PER * w.columns + at;
                Floats weight[PER], slope[PER];
                for (int i = 0; i < PER; ++i) {
                  weight[i] = load(p[r + i] + 16 * v);
                  slope[i] = mul(mul(weight[i], sub(c[r + i][v], all(inner[r + i]))), scale);
                  store(w.weights + (b + r + i) * w.columns + at, slope[i]);
                }
                store_words(w.p_words + word, weight);
                store_words(w.s_words + word, slope);
              }
          }
        float dq[ROWS][512];
        for (int64_t f = 0; f < w.spread; ++f) {
          Floats c[ROWS][V];
          over(w, Left{(const uint32_t *)(w.weights + b * w.columns), w.columns / PER, 1}, w.k_across, f, e, c);
          for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < V; ++v) store(dq[r] + f * TILE + 16 * v, c[r][v]);
        }
        for (int64_t r = 0; r < least(ROWS, n - b); ++r) scatter(dq[r], a.dq, a, token + b + r, head, true);
      }
      const int64_t queries = (n + ROWS - 1) / ROWS * ROWS; // rows after n have weight 0
      gather_gradient<V>(w, w.p_words, w.g_across, queries, e, w.dv);
      gather_gradient<V>(w, w.s_words, w.q_across, queries, e, w.dk);
    }
}

// Packs a head's keys or values of all segments. `rows`: room for a tile of rows.
void pack_head(const Work &w, const Heads &h, int64_t head, bool rotate, uint32_t *along, uint32_t *across) {
  for (int64_t s = 0; s < w.count; ++s)
    for (int64_t i = 0; i < w.length(s); i += TILE) {
      const int64_t n = least(TILE, w.length(s) - i), at = w.column(s) + i;
      gather(w.rows, h, *w.a, w.first_token(s) + i, head, n, TILE, rotate);
      if (along) pack_along(w.rows, w.a->width, w.a->width, TILE, along + at * w.words);
      if (across)
        for (int64_t f = 0; f < w.spread; ++f)
          pack_across<Number, NONE>(w.rows + f * TILE, w.a->width, TILE, least(TILE, w.a->width - f * TILE),
                                  across + (f * w.columns + at) / PER * TILE, nullptr);
    }
}

// Heads of 16, 32 or more features: less of a wide tile need be multiplied.
template <class F> INLINE void by_width(int64_t width, F &&f) {
  if constexpr (VECTORS == 1) return f.template operator()<1>();
  else if (width <= 16) f.template operator()<1>();
  else if (width <= 32) f.template operator()<2>();
  else f.template operator()<4>();
}

void forward(const Work &w, int64_t kv_head) {
  const Attention &a = *w.a;
  pack_head(w, a.k, kv_head, true, w.k_along, nullptr);
  pack_head(w, a.v, kv_head, false, nullptr, w.v_across);
  const int64_t shared = a.heads / a.kv_heads;
  by_width(a.width, [&]<int V>() {
    for (int64_t head = kv_head * shared; head < (kv_head + 1) * shared; ++head) forward_head<V>(w, head);
  });
}

void backward(const Work &w, int64_t kv_head) {
  const Attention &a = *w.a;
  pack_head(w, a.k, kv_head, true, w.k_along, w.k_across);
  pack_head(w, a.v, kv_head, false, w.v_along, nullptr);
  for (int64_t i = 0; i < w.columns * a.width; ++i) w.dk[i] = w.dv[i] = 0.0f;
  const int64_t shared = a.heads / a.kv_heads;
  by_width(a.width, [&]<int V>() {
    for (int64_t head = kv_head * shared; head < (kv_head + 1) * shared; ++head) backward_head<V>(w, head);
  });
  for (int64_t s = 0; s < w.count; ++s)
    for (int64_t i = 0; i < w.length(s); ++i) {
      const int64_t at = (w.column(s) + i) * a.width;
      scatter(w.dk + at, a.dk, a, w.first_token(s) + i, kv_head, true);
      scatter(w.dv + at, a.dv, a, w.first_token(s) + i, kv_head, false);
    }
}

// Cuts one piece of memory into the parts of a Work; with a null `at` only says how large it is.
template <class T> INLINE void cut(T *&part, char *&at, int64_t count, int64_t &bytes) {
  const int64_t size = (count * int64_t(sizeof(T)) + 63) / 64 * 64;
  part = (T *)at;
  if (at) at += size;
  bytes += size;
}

int64_t lay_out(Work &w, char *at, bool back) {
  const int64_t columns = w.columns, width = w.a->width, tiles = w.spread * TILE, most = TILE > BLOCK ? TILE : BLOCK;
  int64_t bytes = 0;
  cut(w.k_along, at, columns * w.words, bytes);
  cut(back ? w.v_along : w.v_across, at, back ? columns * w.words : columns / PER * tiles, bytes);
  cut(w.rows, at, most * width + 64, bytes);
  cut(w.weights, at, (back ? BLOCK : ROWS) * columns, bytes);
  if (!back) {
    cut(w.scores, at, ROWS * columns, bytes);
    return bytes;
  }
  cut(w.k_across, at, columns / PER * tiles, bytes);
  cut(w.dk, at, columns * width + 64, bytes);
  cut(w.dv, at, columns * width + 64, bytes);
  cut(w.p_words, at, BLOCK / PER * columns, bytes);
  cut(w.s_words, at, BLOCK / PER * columns, bytes);
  cut(w.grad_rows, at, most * width + 64, bytes);
  cut(w.q_across, at, BLOCK / PER * tiles, bytes);
  cut(w.g_across, at, BLOCK / PER * tiles, bytes);
  return bytes;
}

int run(const Attention &a, int threads, bool back) {
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    const Tiles tiles;
    char *memory = nullptr;
    int64_t held = 0;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < a.groups * a.kv_heads; ++item) {
      const int64_t g = item / a.kv_heads;
      Work w = {};
      w.a = &a;
      w.segment = a.segments + a.bounds[g];
      w.count = a.bounds[g + 1] - a.bounds[g];
      w.columns = w.column(w.count);
      w.words = a.width / PER;
      w.spread = (a.width + TILE - 1) / TILE;
      const int64_t bytes = lay_out(w, nullptr, back);
      if (bytes > held) {
        free(memory);
        memory = (char *)aligned_alloc(64, bytes);
        held = memory ? bytes : 0;
      }
      if (!memory) {
        failed = 1;
        continue;
      }
      lay_out(w, memory, back);
      back ? backward(w, item % a.kv_heads) : forward(w, item % a.kv_heads);
    }
    free(memory);
  }
  return failed;
}

} // namespace

extern "C" {

int NAMED(attention)(const Attention *a, int threads) { return run(*a, threads, false); }
int NAMED(attention_backward)(const Attention *a, int threads) { return run(*a, threads, true); }

} // extern "C"

#endif
