// Places of items: `ranks[item]` is 1 for the best; `null` is none yet.

/** Gives an item a place. Where no two may share one, whoever has it gets the item's. */
export function place(ranks, item, rank, ties) {
  const next = [...ranks];
  if (rank === 0) rank = null;
  const holder = rank === null || ties ? -1 : ranks.findIndex((it, other) => it === rank && other !== item);
  if (holder >= 0) next[holder] = ranks[item];
  next[item] = rank;
  return next;
}

/** Moves an item up (-1) or down (1). All get places of their own; those that had none come last, as they are shown. */
export function moved(ranks, item, by) {
  const order = ranks.map((_, it) => it).sort((a, b) => (ranks[a] ?? 99) - (ranks[b] ?? 99) || a - b);
  const from = order.indexOf(item);
  const to = Math.min(Math.max(from + by, 0), order.length - 1);
  order.splice(to, 0, ...order.splice(from, 1));
  return ranks.map((_, it) => order.indexOf(it) + 1);
}

/** The same order with places 1, 2, 3 and so on. */
export function closeGaps(ranks) {
  const used = [...new Set(ranks)].sort((a, b) => a - b);
  return ranks.map((rank) => used.indexOf(rank) + 1);
}

/** Whether this is the order in which the items are shown. */
export function isAsShown(ranks) {
  return ranks.every((rank, item) => rank === item + 1);
}
