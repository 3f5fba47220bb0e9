// How much of this host's memory is used.

import { json } from 'hostler:host/config@1.0.0';
import { getMemory } from 'hostler:host/system@1.0.0';

// The options, in percent, or what is wrong with them.
function readLimits(config) {
  const limits = { warn: 80, critical: 90, ...JSON.parse(config) };
  for (const name of ['warn', 'critical']) {
    if (typeof limits[name] !== 'number') {
      return { problems: [{ pointer: `/${name}`, message: 'is not a number' }] };
    }
  }
  if (limits.warn > limits.critical) {
    return { problems: [{ pointer: '/warn', message: 'is above critical, so it would never be reached' }] };
  }
  return { limits, problems: [] };
}

// What the host says, as a person reads it: `denied: grants.system`.
function hostError({ payload }) {
  const { tag, val } = payload;
  if (tag === 'timeout') {
    return tag;
  }
  return tag === 'other' ? `${val.key}: ${val.value}` : `${tag}: ${val}`;
}

// Called when a spec is applied and before each run: throwing a list of
// problems means that the configuration can't be worked with.
export const lifecycle = {
  configure(configJson) {
    const { problems } = readLimits(configJson);
    if (problems.length > 0) {
      throw problems;
    }
  },
};

// One run. Throwing a text means that the check itself broke, which is shown as
// unknown; what is wrong with the host is a report.
export const checkApi = {
  run() {
    const { limits, problems } = readLimits(json());
    if (problems.length > 0) {
      throw `${problems[0].pointer} ${problems[0].message}`;
    }
    let memory;
    try {
      memory = getMemory();
    } catch (error) {
      throw hostError(error);
    }
    if (memory.total === 0) {
      throw 'this host does not say how much memory it has';
    }

    const used = Math.round((memory.used * 100) / memory.total);
    let status = 'ok';
    if (used >= limits.critical) {
      status = 'critical';
    } else if (used >= limits.warn) {
      status = 'warning';
    }
    return {
      status,
      summary: `${used} % of memory used`,
      details: '',
      attrs: [{ key: 'used_percent', value: String(used) }],
    };
  },
};
