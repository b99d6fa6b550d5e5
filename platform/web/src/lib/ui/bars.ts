/** What a chart of stacked bars is made of. */
export interface Series {
  name: string;
  /** Which of the chart's six colours. */
  tone: number;
}

export interface Bucket {
  key: string;
  /** Below the bar, and as its title. */
  label: string;
  title: string;
  /** One for each series, none below zero. */
  values: readonly number[];
}

export interface Scale {
  top: number;
  ticks: number[];
}

const TICKS = 4;
const STEPS = [1, 2, 2.5, 5, 10];

/** An axis from 0 to at least `most`, in round steps. */
export function niceScale(most: number): Scale {
  if (!(most > 0)) return { top: 1, ticks: [0] };
  const rough = most / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = (STEPS.find((factor) => factor * power >= rough * (1 - 1e-9)) ?? 10) * power;
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  return { top: step * count, ticks: Array.from({ length: count + 1 }, (_, place) => place * step) };
}
