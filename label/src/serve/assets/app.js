// The page on which people rank. Without this script the page works by its lists of places; with it by taps, dragging and keys.
'use strict';
(() => {
  const form = document.getElementById('answer');
  if (!form) return;
  document.documentElement.classList.add('js');
  const texts = JSON.parse(form.dataset.texts);
  const say = (key, values = {}) => texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const $ = (id) => document.getElementById(id);
  const cards = [...form.querySelectorAll('.card')];
  const k = cards.length;
  const selects = cards.map((card) => card.querySelector('select'));
  const list = $('tiers'), state = $('state'), submit = $('submit'), skip = $('skip'), help = $('help'), trouble = $('trouble');
  const rejected = form.elements.rejected, comment = form.elements.comment;
  let tieNext = false, sending = false;

  // tiers: lists of places (from 0) on the page, best first; more than one in a list are tied. history: the order in which they were placed.
  let tiers = [], history = [];
  const ranked = selects.map((select, p) => [Number(select.value), p]).filter(([rank]) => rank > 0);
  for (const rank of [...new Set(ranked.map(([r]) => r))].sort((a, b) => a - b)) tiers.push(ranked.filter(([r]) => r === rank).map(([, p]) => p));
  history = tiers.flat();

  const tierOf = (p) => tiers.findIndex((tier) => tier.includes(p));
  // Takes p out of its tier, which may be left empty until `tidy`: so indices stay valid meanwhile.
  const lift = (p) => tiers.forEach((tier) => { if (tier.includes(p)) tier.splice(tier.indexOf(p), 1); });
  const tidy = () => { tiers = tiers.filter((tier) => tier.length); };
  const announce = (text) => { $('say').textContent = text; };

  // Puts p into tier `at` (tied), or as a tier of its own before `at`.
  const put = (p, at, tied) => {
    const anchor = tiers[at];
    lift(p);
    if (tied && anchor) anchor.push(p); else tiers.splice(at, 0, [p]);
    tidy();
    history = history.filter((q) => q !== p).concat(p);
    tieNext = false;
    changed();
    const tier = tierOf(p);
    announce(say(tiers[tier].length > 1 ? 'js_tied' : 'js_placed', { n: p + 1, p: tier + 1 }) + (history.length === k ? ' ' + texts.js_ready : ''));
  };
  const takeOut = (p) => { lift(p); tidy(); history = history.filter((q) => q !== p); tieNext = false; changed(); announce(say('js_out', { n: p + 1 })); };
  const toggle = (p) => {
    if (tierOf(p) >= 0) takeOut(p);
    else if (tieNext && tiers.length) put(p, tiers.length - 1, true);
    else put(p, tiers.length, false);
  };
  const move = (p, by) => {
    const from = tierOf(p), alone = tiers[from].length === 1;
    if (by < 0 && !(alone && from === 0)) put(p, alone ? from - 1 : from, false);
    if (by > 0 && !(alone && from === tiers.length - 1)) put(p, alone ? from + 2 : from + 1, false);
  };
  const tie = (p) => {
    const at = tierOf(p);
    if (tiers[at].length > 1) put(p, at + 1, false);
    else if (at > 0) put(p, at - 1, true);
  };

  const button = (text, label, act, more = {}) => {
    const b = document.createElement('button');
    b.type = 'button'; b.textContent = text; b.setAttribute('aria-label', label); b.title = label;
    Object.entries(more).forEach(([name, value]) => { if (name === 'disabled') b.disabled = value; else b.setAttribute(name, value); });
    b.addEventListener('click', act);
    return b;
  };
  const chip = (p, tier, tied) => {
    const div = document.createElement('div'), n = p + 1;
    div.className = 'chip'; div.dataset.p = p;
    const grip = button(String(n), say('drag', { n }), () => {}, { class: 'grip', 'data-focus': 'grip' });
    const some = document.createElement('span');
    some.className = 'some'; some.dir = 'auto'; some.textContent = cards[p].querySelector('.text').textContent.trim().slice(0, 200);
    const tools = document.createElement('div');
    tools.className = 'tools';
    tools.append(
      button('↑', say('move_up', { n }), () => move(p, -1), { disabled: tier === 0 && !tied, 'data-focus': 'up' }),
      button('↓', say('move_down', { n }), () => move(p, 1), { disabled: tier === tiers.length - 1 && !tied, 'data-focus': 'down' }),
      button('=', say(tied ? 'untie' : 'tie_up', { n }), () => tie(p), { disabled: tier === 0 && !tied, 'aria-pressed': tied, 'data-focus': 'tie' }),
      button('×', say('take_out', { n }), () => takeOut(p), { 'data-focus': 'out' }));
    div.append(grip, some, tools);
    return div;
  };

  const draw = () => {
    const active = document.activeElement, held = active && active.closest && active.closest('.chip');
    const focus = held && [held.dataset.p, active.dataset.focus];
    list.replaceChildren(...tiers.map((tier, at) => {
      const li = document.createElement('li'), inside = document.createElement('div');
      li.className = 'tier'; li.append(inside);
      inside.append(...tier.map((p) => chip(p, at, tier.length > 1)));
      return li;
    }));
    cards.forEach((card, p) => {
      const at = tierOf(p), badge = card.querySelector('.badge');
      card.classList.toggle('placed', at >= 0);
      badge.setAttribute('aria-pressed', at >= 0);
      badge.setAttribute('aria-label', say(at >= 0 ? 'take_out' : 'place_next', { n: p + 1 }));
      card.querySelector('.at').textContent = at >= 0 ? '#' + (at + 1) : '';
      selects[p].value = at >= 0 ? String(at + 1) : '';
    });
    const left = k - history.length, none = left === k;
    form.classList.toggle('rejected', rejected.checked);
    submit.disabled = sending || !(left === 0 || (rejected.checked && none));
    state.textContent = rejected.checked && !none && left ? texts.js_all_or_none : tieNext ? '= …' : left && !rejected.checked ? say('js_more', { left }) : '';
    if (focus) {
      const again = list.querySelector(`.chip[data-p="${focus[0]}"] [data-focus="${focus[1]}"]`);
      const there = again && !again.disabled ? again : list.querySelector(`.chip[data-p="${focus[0]}"] .grip`);
      (there || cards[focus[0]].querySelector('.badge')).focus();
    }
  };

  // Time with the page in view, and the draft on the server: whoever comes back, on any machine, goes on from there.
  let seconds = Number(form.elements.seconds.value) || 0, since = document.hidden ? null : performance.now(), timer = null, dirty = false;
  const spent = () => seconds + (since === null ? 0 : (performance.now() - since) / 1000);
  const fields = () => { form.elements.seconds.value = spent().toFixed(1); return new URLSearchParams(new FormData(form)); };
  const saveDraft = (keepalive) => {
    clearTimeout(timer); timer = null;
    if (sending || !dirty) return;
    dirty = false;
    fetch('/draft', { method: 'POST', body: fields(), keepalive, redirect: 'manual' })
      .then((r) => { if (r.status === 204) $('saved').textContent = texts.js_draft; else if (r.status >= 500) dirty = true; })
      .catch(() => { dirty = true; });
  };
  const later = () => { dirty = true; $('saved').textContent = ''; clearTimeout(timer); timer = setTimeout(saveDraft, 500); };
  const changed = () => { draw(); later(); };
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) { seconds = spent(); since = null; dirty = dirty || history.length > 0; saveDraft(true); } else since = performance.now();
  });
  window.addEventListener('pagehide', () => saveDraft(true));
  window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

  // Sends until the server says that the answer is stored. The form's nonce makes sure that it is stored once.
  const send = (target, body) => {
    if (sending) return;
    sending = true; clearTimeout(timer); draw(); state.textContent = texts.js_saving;
    let wait = 1000;
    const attempt = () => fetch(target.action, { method: 'POST', body, redirect: 'manual' }).then((r) => {
      if (r.type === 'opaqueredirect' || r.ok) location.replace('/');
      else if (r.status >= 500 || r.status === 408) again();
      else HTMLFormElement.prototype.submit.call(target); // a mistake: the server's page explains it
    }).catch(again);
    const again = () => {
      trouble.textContent = texts.js_retry; trouble.hidden = false;
      setTimeout(attempt, wait); wait = Math.min(wait * 2, 15000);
    };
    attempt();
  };
  form.addEventListener('submit', (event) => { event.preventDefault(); if (!submit.disabled) send(form, fields()); });
  const skipForm = skip.querySelector('form');
  skipForm.addEventListener('submit', (event) => {
    event.preventDefault();
    skipForm.elements.seconds.value = spent().toFixed(1);
    send(skipForm, new URLSearchParams(new FormData(skipForm)));
  });
  const undoForm = $('undo');
  undoForm.addEventListener('submit', () => saveDraft(true));

  let opener = null; // who had the focus before the reasons were shown gets it back
  const setSkip = (open) => {
    if (open) opener = document.activeElement;
    skip.open = open; $('skip-button').setAttribute('aria-expanded', open);
    if (open) {
      skip.scrollIntoView({ block: 'nearest' });
      skip.querySelector('input[type=radio]').focus();
    } else if (opener && opener !== document.body) opener.focus();
    else document.activeElement.blur();
  };
  $('skip-button').addEventListener('click', () => setSkip(!skip.open));
  $('skip-close').addEventListener('click', () => setSkip(false));
  $('help-link').addEventListener('click', (event) => { event.preventDefault(); help.showModal(); });
  rejected.addEventListener('change', () => { changed(); announce(texts[rejected.checked ? 'js_rejected' : 'js_unrejected']); });
  comment.addEventListener('input', later);

  cards.forEach((card, p) => {
    card.querySelector('.badge').addEventListener('click', () => toggle(p));
    card.addEventListener('click', (event) => {
      if (event.target.closest('button, label') || tierOf(p) >= 0 || String(getSelection())) return;
      toggle(p);
    });
  });

  // Dragging, with mouse, pen or finger alike: from a number into the order.
  let drag = null;
  const target = (y) => {
    const rows = [...list.children];
    if (!rows.length) return { at: 0, tied: false, row: null };
    for (const [at, row] of rows.entries()) {
      const box = row.getBoundingClientRect(), edge = Math.min(14, box.height / 3);
      if (y < box.top + edge) return { at, tied: false, row, mark: 'before' };
      if (y < box.bottom - edge) return { at, tied: true, row, mark: 'join' };
    }
    return { at: rows.length, tied: false, row: rows[rows.length - 1], mark: 'after' };
  };
  const unmark = () => { list.classList.remove('over'); [...list.children].forEach((row) => row.classList.remove('before', 'after', 'join')); };
  const endDrag = () => {
    if (!drag) return;
    drag.ghost && drag.ghost.remove(); drag.from.classList.remove('lifted'); unmark(); drag = null;
  };
  document.addEventListener('pointerdown', (event) => {
    const handle = event.target.closest('.grip, .badge, .chip .some');
    if (!handle || event.button > 0 || sending) return;
    if (event.pointerType !== 'mouse' && handle.classList.contains('some')) return; // a finger there scrolls
    const from = handle.closest('[data-p]');
    drag = { p: Number(from.dataset.p), from, x: event.clientX, y: event.clientY, id: event.pointerId, ghost: null, over: null };
    if (handle.hasPointerCapture && handle.hasPointerCapture(event.pointerId)) handle.releasePointerCapture(event.pointerId);
  });
  document.addEventListener('pointermove', (event) => {
    if (!drag || event.pointerId !== drag.id) return;
    if (!drag.ghost) {
      if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 6) return;
      drag.ghost = document.createElement('div');
      drag.ghost.className = 'ghost';
      drag.ghost.textContent = (drag.p + 1) + ' · ' + cards[drag.p].querySelector('.text').textContent.trim().slice(0, 40);
      document.body.append(drag.ghost);
      drag.from.classList.add('lifted');
      getSelection().removeAllRanges();
    }
    event.preventDefault();
    drag.ghost.style.transform = `translate(${event.clientX + 10}px, ${event.clientY + 10}px)`;
    if (event.clientY < 60) scrollBy(0, -12); else if (event.clientY > innerHeight - 90) scrollBy(0, 12);
    unmark();
    const box = list.getBoundingClientRect(), slack = 40;
    const inside = event.clientX > box.left - slack && event.clientX < box.right + slack && event.clientY > box.top - slack && event.clientY < box.bottom + slack;
    drag.over = inside ? target(event.clientY) : null;
    if (drag.over) { list.classList.add('over'); if (drag.over.row) drag.over.row.classList.add(drag.over.mark); }
  });
  document.addEventListener('pointerup', (event) => {
    if (!drag || event.pointerId !== drag.id) return;
    const { p, ghost, over } = drag;
    endDrag();
    if (!ghost) return;
    // The click that follows a drag is none.
    const swallow = (click) => { click.stopPropagation(); click.preventDefault(); };
    addEventListener('click', swallow, true);
    setTimeout(() => removeEventListener('click', swallow, true), 0);
    if (over) put(p, over.at, over.tied);
  });
  document.addEventListener('pointercancel', endDrag);
  document.addEventListener('selectstart', (event) => { if (drag && drag.ghost) event.preventDefault(); });

  // Enter on a button that a pointer left focused submits; on one that was reached by Tab it presses the button.
  let byPointer = false;
  document.addEventListener('pointerdown', () => { byPointer = true; }, true);

  // Keys. Input methods send other signs for some of them.
  const plain = { '？': '?', '＝': '=' };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help.open) return;
    if (event.key === 'Tab') byPointer = false;
    const at = document.activeElement, tag = at ? at.tagName : '';
    let key = plain[event.key] || event.key;
    const code = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
    if (key === 'Process' && code) key = code[1];
    if (key === 'Escape') { if (drag) endDrag(); else if (skip.open) setSkip(false); else if (at) at.blur(); return; }
    if (tag === 'TEXTAREA' || tag === 'SELECT' || (tag === 'INPUT' && at.type === 'text')) return;
    if (skip.open && skip.contains(at)) return;
    if (sending) return;
    const held = at && at.closest ? at.closest('.chip') : null, p = held ? Number(held.dataset.p) : -1;
    const done = () => event.preventDefault();
    if (/^\d$/.test(key)) {
      const n = key === '0' ? 9 : Number(key) - 1;
      if (n < k) { toggle(n); done(); }
    } else if (key === '=') {
      done();
      if (held) tie(p);
      else if (history.length === k) tie(history[k - 1]);
      else if (tiers.length) { tieNext = !tieNext; draw(); announce(texts[tieNext ? 'js_tie_next' : 'js_tie_off']); }
    } else if (key === 'Backspace' || key === 'Delete') {
      if (history.length) { takeOut(held ? p : history[history.length - 1]); done(); }
    } else if ((key === 'ArrowUp' || key === 'ArrowDown') && held) { move(p, key === 'ArrowUp' ? -1 : 1); done(); }
    else if (key === 'x') { rejected.click(); done(); }
    else if (key === 'c') { comment.focus(); done(); }
    else if (key === 's') { setSkip(true); done(); }
    else if (key === 'u') { if (!$('undo-button').disabled) undoForm.requestSubmit(); done(); }
    else if (key === '?') { help.showModal(); done(); }
    else if (key === 'Enter' && (byPointer || !/^(BUTTON|A|SUMMARY)$/.test(tag))) { if (!submit.disabled) form.requestSubmit(); done(); }
  });

  draw();
})();
